"""Kernels that share a coordinate: effect of predicting several at once on accuracy, bytes and seconds.

python -m bench.shared_coordinates [--seed 0] writes bench/results/shared_coordinates.json.

ResNet20 and ResNet56 get 1, 4 and 16 kernels per coordinate, with the same hidden size and training time; then ResNet56
gets 16 for three times as long. Accuracy is that of the finished file on the 10,000 test images of CIFAR-10, measured
once; the decoding time, in float64, is the best of several.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from bench.assets import DATASET, RESULTS, checkpoint_of
from bench.machine import describe_machine
from bench.timing import best_seconds
from nern_core.contract.options import EncodeOptions
from nern_core.decoder import decode
from nern_core.encoder import encode

# Depth, hidden size, seconds, kernels per coordinate.
_RUNS = (
    *((20, 160, 45.0, kernels) for kernels in (1, 4, 16)),
    *((56, 280, 100.0, kernels) for kernels in (1, 4, 16)),
    (56, 280, 300.0, 16),
)
_DECODINGS = 5


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    runs = []
    for depth, hidden_size, seconds, kernels in _RUNS:
        runs.append(measure(depth, hidden_size, seconds, kernels, seed))
        print(json.dumps(runs[-1]), flush=True)
    result = {"machine": describe_machine(), "seed": seed, "runs": runs}
    (RESULTS / "shared_coordinates.json").write_text(json.dumps(result, indent=2) + "\n")


def measure(depth: int, hidden_size: int, seconds: float, kernels: int, seed: int) -> dict[str, Any]:
    """Encode once, and measure the decoding time."""
    options = EncodeOptions(
        architecture=f"cifar-resnet{depth}",
        dataset=str(DATASET),
        hidden_size=hidden_size,
        kernels_per_coordinate=kernels,
        seconds=seconds,
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.nern"
        report = encode(checkpoint_of(depth), path, options).report
        seconds_of_decoding = best_seconds(lambda: decode(path), _DECODINGS)
    return {
        "network": f"ResNet{depth}",
        "hidden_size": hidden_size,
        "budget_seconds": seconds,
        "kernels_per_coordinate": kernels,
        "accuracy": report.metrics.reconstructed_accuracy,
        "bytes": report.metrics.file_bytes,
        "relative_error": round(report.metrics.relative_error, 4),
        "steps": {point.phase: point.step for point in report.curve},
        "decode_seconds": round(seconds_of_decoding, 4),
    }


if __name__ == "__main__":
    main()
