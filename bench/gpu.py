"""Performance on a GPU: steps per second, with and without CUDA graphs, accuracy by seconds, decoding.

python -m bench.gpu [--only steps accuracy decode] [--seconds 8] [--keep FOLDER] writes bench/results/gpu.json. It fails
without a GPU.

- steps: rate in the second half of each phase, for ResNet20 and ResNet56 on CIFAR-10, and for torchvision's ResNet18
  with random weights on random images of 224 pixels, because only the number of both matters there.
- accuracy: of the finished file on the test images of CIFAR-10, for ResNet20, with a predictor and quantized weights.
- decode: whole checkpoints, in float64 and in float32, from the file's bytes in the cache to tensors on the CPU.

With `--keep`, the files of `accuracy` stay in a folder.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from bench.assets import DATASET, RESULTS, checkpoint_of
from bench.machine import describe_machine
from bench.random_networks import random_checkpoint
from bench.timing import best_seconds
from nern_core.contract.options import EncodeOptions
from nern_core.decoder import Arithmetic, decode, decode_layer
from nern_core.encoder import EncodingResult, encode
from nern_core.networks.datasets import read_image_set
from nern_core.representations.files import read_encoding

_PATH = RESULTS / "gpu.json"
_PARTS = ("steps", "accuracy", "decode")
_BUDGETS = (10.0, 30.0)
_SIZES = (60_000, 93_000, 129_000)
_BUDGET_OF_SIZES = 20.0
_REPETITIONS = 5
_IMAGES_OF_RESNET18 = 256
_GPU = torch.device("cuda")


@dataclass(frozen=True, slots=True)
class Case:
    """A checkpoint and the common options of its encodings."""

    checkpoint: Path
    architecture: str
    dataset: Path

    def encode(self, path: Path, **options: object) -> EncodingResult:
        """Encode the checkpoint, on a GPU unless the options say otherwise."""
        common = {"architecture": self.architecture, "dataset": str(self.dataset), "device": "gpu"}
        return encode(self.checkpoint, path, EncodeOptions.model_validate(common | options))


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no GPU here")
    result: dict[str, Any] = json.loads(_PATH.read_text()) if _PATH.exists() else {}
    result["machine"] = describe_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        resnet20, resnet56, resnet18 = _cifar(20), _cifar(56), _resnet18(folder)
        if "steps" in arguments.only:
            cases: dict[str, tuple[Case, dict[str, object]]] = {
                "ResNet20, predictor of hidden size 160": (resnet20, {"hidden_size": 160}),
                "ResNet20, 93 KB": (resnet20, {"target_bytes": 93_000}),
                "ResNet56, predictor of hidden size 280": (resnet56, {"hidden_size": 280}),
                "ResNet56, 270 KB": (resnet56, {"target_bytes": 270_000}),
                "ResNet18, a twelfth": (resnet18, {"target_ratio": 12}),
                "ResNet18, predictor of hidden size 1024": (resnet18, {"hidden_size": 1024, "permutation": "none"}),
            }
            result["steps"] = {}
            for label, (case, options) in cases.items():
                result["steps"][label] = steps(case, folder / "x.nern", arguments.seconds, options)
                print(label, json.dumps(result["steps"][label]), flush=True)
                record(result)
        if "accuracy" in arguments.only:
            keep = arguments.keep or folder
            result["training_images"] = len(read_image_set(DATASET, "train"))
            result["test_images"] = len(read_image_set(DATASET, "test"))
            predictor = {"hidden_size": 160, "permutation": "cross-filter"}
            result["accuracy"] = [accuracy(resnet20, keep, seconds, **predictor) for seconds in _BUDGETS]
            result["accuracy"] += [accuracy(resnet20, keep, _BUDGET_OF_SIZES, target_bytes=size) for size in _SIZES]
        if "decode" in arguments.only:
            result["decode"] = {
                "ResNet20, predictor of hidden size 160": decoding(resnet20, folder, hidden_size=160, steps=50),
                "ResNet18, predictor of hidden size 1024": decoding(
                    resnet18, folder, hidden_size=1024, permutation="none", steps=2
                ),
            }
            print(json.dumps(result["decode"]), flush=True)
    record(result)


def record(result: dict[str, Any]) -> None:
    """Write the measurements so far."""
    _PATH.write_text(json.dumps(result, indent=2) + "\n")


def steps(case: Case, path: Path, seconds: float, options: dict[str, object]) -> dict[str, Any]:
    """Measure the steps per second of each phase, without and with CUDA graphs."""
    with patch("nern_core.training.gpu_graph._STEPS_BEFORE_CAPTURE", math.inf):
        single = _rates(case.encode(path, seconds=seconds, **options))
    graphs = _rates(case.encode(path, seconds=seconds, **options))
    return {
        phase: {"one by one": single[phase], "graphs": rate, "ratio": round(rate / single[phase], 2)}
        for phase, rate in graphs.items()
    }


def _rates(result: EncodingResult) -> dict[str, float]:
    """Return the steps per second in the second half of each phase."""
    rates = {}
    curve = result.report.curve
    for phase in dict.fromkeys(point.phase for point in curve):
        points = [point for point in curve if point.phase == phase]
        first, last = points[(len(points) - 1) // 2], points[-1]
        rates[phase] = round((last.step - first.step) / (last.seconds - first.seconds), 2)
    return rates


def accuracy(case: Case, folder: Path, seconds: float, **options: object) -> dict[str, Any]:
    """Encode with a budget; return the accuracy, bytes and steps."""
    path = folder / f"{'-'.join(map(str, options.values()))}-{seconds:.0f}.nern"
    started = time.perf_counter()
    report = case.encode(path, seconds=seconds, **options).report
    run = {
        "budget_seconds": seconds,
        "seconds": round(time.perf_counter() - started, 1),
        "file": path.name,
        "bytes": report.metrics.file_bytes,
        "accuracy": report.metrics.reconstructed_accuracy,
        "steps": {point.phase: point.step for point in report.curve},
    }
    print(json.dumps(run), flush=True)
    return run


def decoding(case: Case, folder: Path, **options: object) -> dict[str, Any]:
    """Measure the decoding time, and the difference of a layer from the CPU's, relative to its largest weight."""
    path = folder / "x.nern"
    case.encode(path, **options)
    double, single = Arithmetic(device=_GPU), Arithmetic(dtype=torch.float32, device=_GPU)
    encoding = read_encoding(path)
    layer = encoding.document.layers[len(encoding.document.layers) // 2].name
    exact = decode_layer(encoding, layer)
    differences = {
        name: float((decode_layer(encoding, layer, arithmetic) - exact).abs().max() / exact.abs().max())
        for name, arithmetic in (("float64", double), ("float32", single))
    }
    return {
        "float64": _best(lambda: decode(path, double)),
        "float32": _best(lambda: decode(path, single)),
        "largest_differences": differences,
    }


def _best(work: Callable[[], object]) -> float:
    return round(best_seconds(work, _REPETITIONS), 5)


def _cifar(depth: int) -> Case:
    return Case(checkpoint_of(depth), f"cifar-resnet{depth}", DATASET)


def _resnet18(folder: Path) -> Case:
    dataset = folder / "images"
    dataset.mkdir()
    generator = np.random.default_rng(0)
    for split, count in (("train", _IMAGES_OF_RESNET18), ("test", 8)):
        images = generator.integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)
        np.savez(dataset / f"{split}.npz", images=images, labels=generator.integers(0, 1000, count))
    return Case(random_checkpoint(folder, "resnet18"), "torchvision:resnet18", dataset)


if __name__ == "__main__":
    main()
