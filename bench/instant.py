"""Measure the quality, speed and memory of the instant tier.

python -m bench.instant [--seeds 0 1 2] runs `nern encode` in processes of their own, after the caches are filled, and
writes bench/results/instant.json and instant.md. Seconds are those from the start of the process to its end. ResNet20
is encoded with 500 unlabelled images of the training split, without any images, and with images made from the network
(`--recipe data-free`). Its accuracy is that of the finished file on the 10,000 test images of CIFAR-10, and the
divergence is that of its probabilities from the original's. ResNet50 and ViT-B/16 have random weights, because only
time and memory matter there; memory is the peak of the process beyond that of a process that imports the encoder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from bench.assets import DATASET, RESULTS, checkpoint_of
from bench.machine import describe_machine
from bench.random_networks import random_checkpoint
from nern_core.decoder import decode
from nern_core.networks import find_architecture
from nern_core.networks.evaluate import open_evaluator
from nern_core.tensors.checkpoint import read_checkpoint

_ARCHITECTURE = "cifar-resnet20"
_IMAGES = 500
_SIZES = {"500 images": (60_000, 76_000), "no images": (84_000,), "made images": (84_000,)}
_LARGE = ("resnet50", "vit_b_16")


@dataclass(frozen=True, slots=True)
class Run:
    """The duration of a command in seconds, and its peak memory in MiB."""

    seconds: float
    peak_megabytes: int


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    chosen = parser.parse_args()
    subprocess.run([sys.executable, "-m", "nern_core.fill_caches"], check=True)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = _run([sys.executable, "-c", "import nern_core.encoder"]).peak_megabytes
        rows += [_measure_large(folder, network, own) for network in _LARGE]
        accuracies = _Accuracies()
        rows += [
            _measure_small(folder, accuracies, images, size, seed)
            for images, sizes in _SIZES.items()
            for size in sizes
            for seed in chosen.seeds
        ]
    (RESULTS / "instant.json").write_text(json.dumps({"machine": describe_machine(), "runs": rows}, indent=2) + "\n")
    (RESULTS / "instant.md").write_text(_page(rows))


def _measure_large(folder: Path, network: str, own: int) -> dict[str, Any]:
    checkpoint, output = random_checkpoint(folder, network), folder / "large.nern"
    run = _encode(checkpoint, output, "--target-ratio", "10")
    return _shown(
        {
            "network": network,
            "inputs": "none",
            "bytes": output.stat().st_size,
            "seconds": round(run.seconds, 1),
            "megabytes": run.peak_megabytes - own,
        }
    )


def _measure_small(folder: Path, accuracies: "_Accuracies", images: str, size: int, seed: int) -> dict[str, Any]:
    output = folder / "small.nern"
    options = ["--architecture", _ARCHITECTURE, "--target-bytes", str(size), "--seed", str(seed)]
    if images == "500 images":
        options += ["--dataset", str(_images(folder, seed))]
    elif images == "made images":
        options += ["--recipe", "data-free"]
    run = _encode(checkpoint_of(20), output, *options)
    accuracy, divergence = accuracies.of(output)
    return _shown(
        {
            "network": "ResNet20",
            "inputs": images,
            "seed": seed,
            "bytes": output.stat().st_size,
            "accuracy": accuracy,
            "divergence": round(divergence, 4),
            "seconds": round(run.seconds, 1),
        }
    )


def _images(folder: Path, seed: int) -> Path:
    """Write unlabelled training images, other ones for each seed, as the network takes them."""
    path, used = folder / f"images-{seed}.npz", find_architecture(_ARCHITECTURE).preprocessing
    with np.load(DATASET / "train.npz") as file:
        rows = np.random.default_rng(seed).permutation(len(file["images"]))[:_IMAGES]
        images = (file["images"][rows] / 255 - np.array(used.mean)) / np.array(used.std)
    np.savez(path, inputs=images.transpose(0, 3, 1, 2).astype(np.float32))
    return path


class _Accuracies:
    """Measures files of the ResNet20 on all test images."""

    def __init__(self) -> None:
        self._evaluator = open_evaluator(_ARCHITECTURE, DATASET)
        self._original = self._logits(checkpoint_of(20))

    def of(self, encoding: Path) -> tuple[float, float]:
        """Return the accuracy in percent, and the mean divergence from the original's probabilities in nats."""
        logits = self._evaluator.logits(decode(encoding).tensors)
        accuracy = 100 * float((logits.argmax(dim=1) == self._evaluator.images.labels).double().mean())
        own, original = logits.log_softmax(dim=1), self._original.log_softmax(dim=1)
        return round(accuracy, 2), float(F.kl_div(own, original, log_target=True, reduction="batchmean"))

    def _logits(self, checkpoint: Path) -> Tensor:
        return self._evaluator.logits(read_checkpoint(checkpoint).tensors)


def _encode(checkpoint: Path, output: Path, *options: str) -> Run:
    output.unlink(missing_ok=True)
    command = [str(Path(sys.executable).parent / "nern"), "encode", str(checkpoint), "-o", str(output)]
    return _run([*command, "--tier", "instant", *options])


def _run(command: list[str]) -> Run:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Run(seconds, usage.ru_maxrss // 1024)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    print(row, flush=True)
    return row


def _page(rows: list[dict[str, Any]]) -> str:
    columns = ("network", "inputs", "seed", "bytes", "accuracy", "divergence", "seconds", "megabytes")
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    lines = (f"| {' | '.join(str(row.get(column, '')) for column in columns)} |\n" for row in rows)
    return (
        "# The instant tier\n\nSeconds are those of the whole command `nern encode`, megabytes its peak beyond what\n"
        "the imports take. Made by `python -m bench.instant`.\n\n" + head + "".join(lines)
    )


if __name__ == "__main__":
    main()
