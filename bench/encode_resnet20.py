"""Encode the public ResNet20 with both recipes at the same budget, as a user would: with `nern encode`.

python -m bench.encode_resnet20 [--seconds 150] [--seeds 0 1 2] writes bench/results/encode_resnet20.json.
The accuracy is that of the finished file on the 10,000 test images of CIFAR-10, measured once.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.machine import describe_machine
from nern_core.decode import decode

HERE = Path(__file__).parent
ASSETS = Path(os.environ.get("NERN_TEST_ASSETS", HERE.parent.parent / "shared"))
CHECKPOINT = ASSETS / "checkpoints" / "cifar10-resnet20.th"
DATASET = ASSETS / "data" / "cifar10"
DECODINGS = 5


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    runs = [measure("fast", seed, arguments.seconds) for seed in arguments.seeds]
    runs.append(measure("paper", arguments.seeds[0], arguments.seconds))
    result = {"machine": describe_machine(), "budget_seconds": arguments.seconds, "runs": runs}
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / "encode_resnet20.json").write_text(json.dumps(result, indent=2) + "\n")
    for run in runs:
        print(
            f"{run['recipe']:>6} seed {run['seed']}: {run['reconstructed_accuracy']:.2f} %, {run['file_bytes']:,} bytes"
        )


def measure(recipe: str, seed: int, seconds: float) -> dict[str, Any]:
    """One encoding by the command line; returns its metrics and the time that decoding takes."""
    with tempfile.TemporaryDirectory() as folder:
        encoding = Path(folder) / "r20.nern"
        command = [
            str(Path(sys.executable).with_name("nern")),
            "encode",
            str(CHECKPOINT),
            "-o",
            str(encoding),
            "--json",
        ]
        command += ["--architecture", "cifar-resnet20", "--dataset", str(DATASET), "--hidden-size", "160"]
        command += ["--permutation", "cross-filter", "--recipe", recipe, "--seconds", str(seconds), "--seed", str(seed)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        metrics: dict[str, Any] = json.loads(output.splitlines()[-1])
        return {"recipe": recipe, "seed": seed, "decode_seconds": decode_seconds(encoding)} | metrics


def decode_seconds(encoding: Path) -> float:
    """Fastest of some decodings, in seconds."""
    durations = []
    for _ in range(DECODINGS):
        started = time.perf_counter()
        decode(encoding)
        durations.append(time.perf_counter() - started)
    return round(min(durations), 4)


if __name__ == "__main__":
    main()
