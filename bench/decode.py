"""Decoding time: a whole checkpoint, with sums in float64 and in float32, one layer, one kernel.

python -m bench.decode writes bench/results/decode.json. ResNet20 is the public one; ResNet18 has torchvision's random
weights, because only their number matters here. The encodings are hardly trained, because decoding does not depend on
training. Times are the best of several, from the opened file in the page cache to tensors.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.assets import RESULTS, checkpoint_of
from bench.machine import describe_machine
from bench.random_networks import random_checkpoint
from bench.timing import best_seconds
from nern_core.contract.options import EncodeOptions
from nern_core.decoder import Arithmetic, decode, decode_kernel, decode_layer
from nern_core.encoder import encode
from nern_core.representations.files import read_encoding

_REPETITIONS = 7
# Longer runs are not repeated.
_MOST_SECONDS = 5.0
# 12.99 MiB, hidden size 1024 (Ashkenazi et al., 2023).
_PUBLISHED_BYTES = 13_621_000


def main() -> None:
    """Measure and record."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        resnet18 = random_checkpoint(folder, "resnet18")
        cases = {
            "ResNet20, 60 KB": (checkpoint_of(20), EncodeOptions(target_bytes=60_000)),
            "ResNet20, 123 KB": (checkpoint_of(20), EncodeOptions(target_bytes=123_000)),
            "ResNet20, predictor of hidden size 160": (checkpoint_of(20), EncodeOptions(hidden_size=160, steps=1)),
            "ResNet18, a twelfth": (resnet18, EncodeOptions(target_ratio=12)),
            "ResNet18, as many bytes as the smallest published predictor": (
                resnet18,
                EncodeOptions(target_bytes=_PUBLISHED_BYTES),
            ),
            "ResNet18, predictor of hidden size 1024, 16 kernels to a coordinate": (
                resnet18,
                EncodeOptions(hidden_size=1024, kernels_per_coordinate=16, steps=1),
            ),
            "ResNet18, predictor of hidden size 1024": (resnet18, EncodeOptions(hidden_size=1024, steps=1)),
        }
        runs = {}
        for label, (checkpoint, options) in cases.items():
            runs[label] = measure(checkpoint, options, folder)
            print(label, json.dumps(runs[label]), flush=True)
    result = {"machine": describe_machine(), "runs": runs}
    (RESULTS / "decode.json").write_text(json.dumps(result, indent=2) + "\n")


def measure(checkpoint: Path, options: EncodeOptions, folder: Path) -> dict[str, Any]:
    """Encode, then decode in several ways; seconds of each."""
    path = folder / "x.nern"
    started = time.perf_counter()
    encode(checkpoint, path, options)
    encoding_seconds = time.perf_counter() - started
    encoding = read_encoding(path)
    single = Arithmetic(dtype=torch.float32)
    middle = encoding.document.layers[len(encoding.document.layers) // 2]
    return {
        "file_bytes": path.stat().st_size,
        "represented_weights": sum(layer.weights for layer in encoding.document.layers),
        "encode": round(encoding_seconds, 3),
        "decode": _best(lambda: decode(path)),
        "decode_float32": _best(lambda: decode(path, single)),
        "decode_layer": _best(lambda: decode_layer(encoding, middle.name)),
        "decode_kernel": _best(lambda: decode_kernel(encoding, middle.name, 0, 0)),
    }


def _best(work: Callable[[], object]) -> float:
    return round(best_seconds(work, _REPETITIONS, _MOST_SECONDS), 5)


if __name__ == "__main__":
    main()
