"""Bytes against accuracy: this encoding with and without data, and what else could be done to the network.

python -m bench.rate_accuracy [--only TEXT …] [--seconds 110] runs the cases whose names contain a TEXT, records each in
bench/results/rate_accuracy.json as soon as it is done, and from all that is recorded writes rate_accuracy.md beside
it and docs/rate-accuracy.svg. Accuracy is that of the finished file on the 10,000 test images of CIFAR-10, measured
once, after the last step; bytes are those of the whole file, except where a row says otherwise.

NNCodec needs another numpy than this project, so it lives in an environment of its own (pip install nncodec==2.1.3
safetensors), whose interpreter NERN_NNCODEC_PYTHON names. Its cases fail without it.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from bench.assets import DATASET, HERE, RESULTS, checkpoint_of
from bench.direct_quantization import quantize_directly
from bench.machine import describe_machine
from nern_core.charts import Series, line_chart
from nern_core.checkpoint import read_checkpoint
from nern_core.datasets import read_image_set
from nern_core.encode import encode
from nern_core.evaluate import open_evaluator
from nern_core.meta_compression.operations import entropy_bits
from nern_core.options import EncodeOptions, RecipeName
from nern_core.recipes.fast import FAST
from nern_core.rounding import round_to_nearest
from nern_core.training.image_source import image_source
from nern_core.training.teacher import Teacher
from nern_core.zoo import build_network, find_architecture

# Those of the ResNet20 are what NNCodec makes of it, and what direct quantization does.
_TARGETS = {
    20: (59_000, 73_000, 84_000, 93_000, 100_000, 112_000, 123_000, 129_000),
    56: (190_000, 270_000, 380_000),
}
_DATA_FREE_TARGETS = {20: (73_000, 100_000, 129_000), 56: (380_000,)}
_QUANTIZATION_PARAMETERS = {20: (-14, -16, -18, -20, -22, -24, -28, -32), 56: (-14, -16, -18, -20, -22, -24, -28)}
_DIRECT_BITS = {20: (2, 3, 4), 56: (2, 3)}
_ROUNDED_BITS = (3, 4, 5, 6, 8)
# A step of the larger network takes about three times as long.
_SECONDS_FACTOR = {20: 1.0, 56: 3.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A method at one setting; `measure` gives the points (bytes, accuracy) and whatever else is worth recording."""

    depth: int
    method: str
    setting: str
    measure: Callable[[], dict[str, Any]]

    @property
    def name(self) -> str:
        """Network, method and setting."""
        return f"resnet{self.depth} {self.method} {self.setting}"


def main() -> None:
    """Measure, record, and write the page and the chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the names of the cases to run")
    parser.add_argument("--seconds", type=float, default=110.0, help="budget of a case that trains, for the ResNet20")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    arguments = parser.parse_args()
    chosen = [c for c in cases(arguments.seconds, arguments.seed) if any(text in c.name for text in arguments.only)]
    if arguments.list:
        print("\n".join(case.name for case in chosen))
        return
    record = RESULTS / "rate_accuracy.json"
    runs: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    for case in chosen:
        found = case.measure()
        runs[case.name] = {"depth": case.depth, "method": case.method, "setting": case.setting} | found
        runs[case.name]["machine"] = describe_machine()
        print(f"{case.name}: {found['bytes']:,} bytes, {found['accuracy']:.2f} %", flush=True)
        record.write_text(json.dumps(runs, indent=2) + "\n")
        (RESULTS / "rate_accuracy.md").write_text(page(runs))
        (HERE.parent / "docs" / "rate-accuracy.svg").write_text(draw(runs), encoding="utf-8")


def cases(seconds: float, seed: int) -> Iterator[Case]:
    """All cases, the quick ones first."""
    for depth, targets in _TARGETS.items():
        budget = seconds * _SECONDS_FACTOR[depth]
        for bits in _ROUNDED_BITS:
            yield Case(
                depth=depth, method="round to nearest", setting=f"{bits} bits", measure=partial(rounded, depth, bits)
            )
        for parameter in _QUANTIZATION_PARAMETERS[depth]:
            yield Case(
                depth=depth, method="NNCodec", setting=f"qp {parameter}", measure=partial(nncodec, depth, parameter)
            )
        for recipe, sizes in ((RecipeName.FAST, targets), (RecipeName.DATA_FREE, _DATA_FREE_TARGETS[depth])):
            for size in sizes:
                yield Case(
                    depth=depth,
                    method="ours" if recipe is RecipeName.FAST else "ours, data-free",
                    setting=f"{size} bytes",
                    measure=partial(ours, depth, recipe, size, budget, seed),
                )
        for bits in _DIRECT_BITS[depth]:
            yield Case(
                depth=depth,
                method="direct",
                setting=f"{bits} bits",
                measure=partial(direct, depth, bits, budget, seed),
            )


def ours(depth: int, recipe: RecipeName, target: int, seconds: float, seed: int) -> dict[str, Any]:
    """Encode for a target size."""
    options = EncodeOptions(
        architecture=f"cifar-resnet{depth}",
        dataset=str(DATASET),
        recipe=recipe,
        target_bytes=target,
        seconds=seconds,
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        report = encode(checkpoint_of(depth), Path(folder) / "x.nern", options).report
    metrics = report.metrics
    return {
        "bytes": metrics.file_bytes,
        "accuracy": metrics.reconstructed_accuracy,
        "original_accuracy": metrics.original_accuracy,
        "seconds": metrics.seconds,
        "steps": report.curve[-1].step,
    }


def direct(depth: int, bits: int, seconds: float, seed: int) -> dict[str, Any]:
    """Quantize the weights themselves while distilling."""
    architecture = find_architecture(f"cifar-resnet{depth}")
    network = build_network(architecture, read_checkpoint(checkpoint_of(depth)).tensors, torch.device("cpu"))
    teacher = Teacher(
        network=network, preprocessing=architecture.preprocessing, images=read_image_set(DATASET, "train")
    )
    torch.manual_seed(seed)
    images = image_source(FAST.distillation, teacher, torch.Generator().manual_seed(seed))
    assert images is not None
    tensors, size, steps = quantize_directly(network, images, bits, seconds)
    return {"bytes": size, "accuracy": accuracy(depth, tensors), "seconds": {"total": seconds}, "steps": steps}


def nncodec(depth: int, parameter: int) -> dict[str, Any]:
    """Code with NNCodec, in its own environment."""
    interpreter = os.environ.get("NERN_NNCODEC_PYTHON")
    if interpreter is None:
        raise SystemExit("NERN_NNCODEC_PYTHON must name the interpreter of an environment that has nncodec 2.1.3")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        safetensors.torch.save_file(read_checkpoint(checkpoint_of(depth)).tensors, folder / "in.safetensors")
        command: list[str | Path] = [
            interpreter,
            HERE / "nncodec_points.py",
            folder / "in.safetensors",
            folder,
            str(parameter),
        ]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        point = json.loads(told)[str(parameter)]
        tensors = safetensors.torch.load_file(folder / f"{parameter}.safetensors")
    return {"bytes": point["bytes"], "accuracy": accuracy(depth, tensors), "seconds": {"total": point["seconds"]}}


def rounded(depth: int, bits: int) -> dict[str, Any]:
    """Round to nearest with one scale per row; the entropy of the integers, all else in fp16."""
    started = time.perf_counter()
    tensors, taken = {}, 0.0
    for name, tensor in read_checkpoint(checkpoint_of(depth)).tensors.items():
        if tensor.is_floating_point() and tensor.ndim >= 2:
            result = round_to_nearest(tensor, bits)
            tensors[name] = result.values()
            taken += entropy_bits(result.symbols) + 16 * len(result.scales)
        else:
            tensors[name] = tensor.half().float() if tensor.is_floating_point() else tensor
            taken += 16 * tensor.numel() if tensor.is_floating_point() else 0
    seconds = round(time.perf_counter() - started, 2)
    return {"bytes": round(taken / 8), "accuracy": accuracy(depth, tensors), "seconds": {"total": seconds}}


def accuracy(depth: int, tensors: dict[str, Tensor]) -> float:
    """On the test split, in percent."""
    return open_evaluator(f"cifar-resnet{depth}", DATASET).accuracy(tensors)


def page(runs: dict[str, Any]) -> str:
    """The table of all points, by network and size."""
    machine = next(iter(runs.values()))["machine"]
    lines = [
        "# Bytes against accuracy",
        "",
        "CIFAR-10, the public ResNets; accuracy on the 10,000 test images, measured once after the last step. Bytes of",
        "*ours* are the whole file; of NNCodec its bitstream; of *direct* (quantization-aware distillation of the",
        "weights themselves) and *round to nearest* the entropy of the integers with all else in fp16, and no file.",
        f"Measured on {machine['processor']}, {machine['cores']} cores, torch {machine['torch']}, {machine['date']}.",
        "Made by `python -m bench.rate_accuracy`.",
    ]
    for depth in sorted({run["depth"] for run in runs.values()}):
        chosen = sorted((run for run in runs.values() if run["depth"] == depth), key=lambda run: run["bytes"])
        lines += ["", f"## ResNet{depth}", "", "| method | setting | bytes | accuracy | seconds | steps |"]
        lines += ["|---|---|---|---|---|---|"]
        lines += [
            f"| {run['method']} | {run['setting']} | {run['bytes']:,} | {run['accuracy']:.2f} | "
            f"{run['seconds'].get('distillation', run['seconds'].get('total', 0)):.0f} | {run.get('steps', '')} |"
            for run in chosen
        ]
    return "\n".join([*lines, ""])


def draw(runs: dict[str, Any]) -> str:
    """Accuracy against kilobytes, ResNet20."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for run in runs.values():
        if run["depth"] == 20 and run["accuracy"] > 70:
            lines.setdefault(run["method"], []).append((run["bytes"] / 1000, run["accuracy"]))
    series = [Series(name, tuple(sorted(points))) for name, points in sorted(lines.items())]
    return line_chart(series, title="ResNet20 on CIFAR-10", x_label="kilobytes", y_label="test accuracy, %")


if __name__ == "__main__":
    main()
