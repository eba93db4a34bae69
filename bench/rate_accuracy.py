"""Bytes against accuracy: this encoding with and without data, and the alternatives.

python -m bench.rate_accuracy [--only TEXT …] [--seconds 110] runs the cases whose names contain a TEXT, records each in
bench/results/rate_accuracy.json as soon as it is done, and writes rate_accuracy.md beside it and docs/rate-accuracy.svg
from all recorded cases. Accuracy is that of the finished file on the 10,000 test images of CIFAR-10, measured once,
after the last step; bytes are those of the whole file, unless a row says otherwise.

NNCodec needs another version of numpy than this project, so it has a separate environment: that of `make nncodec`, or
the one whose interpreter is NERN_NNCODEC_PYTHON. Its cases fail without it.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import torch
from torch import Tensor

from bench.assets import DATASET, HERE, RESULTS, SECONDS_FACTOR, checkpoint_of
from bench.machine import describe_machine
from nern_core.analysis.baselines import code_with_nncodec
from nern_core.analysis.charts import Series, line_chart
from nern_core.analysis.direct_quantization import quantize_directly
from nern_core.analysis.meta_compression.operations import entropy_bits
from nern_core.contract.catalogue import RecipeName
from nern_core.contract.options import EncodeOptions
from nern_core.encoder import encode
from nern_core.networks import build_network, find_architecture
from nern_core.networks.datasets import read_image_set
from nern_core.networks.evaluate import open_evaluator
from nern_core.recipes.fast import FAST
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.tensors.rounding import round_to_nearest
from nern_core.training.clock import Budget
from nern_core.training.image_source import image_source
from nern_core.training.teacher import Teacher

# The sizes for the ResNet20 are those of NNCodec and of direct quantization.
_TARGETS = {
    20: (59_000, 73_000, 84_000, 93_000, 100_000, 112_000, 123_000, 129_000),
    56: (190_000, 270_000, 380_000),
}
_DATA_FREE_TARGETS = {20: (73_000, 100_000, 129_000), 56: (380_000,)}
_QUANTIZATION_PARAMETERS = {20: (-14, -16, -18, -20, -22, -24, -28, -32), 56: (-14, -16, -18, -20, -22, -24, -28)}
_DIRECT_BITS = {20: (2, 3, 4), 56: (2, 3)}
_ROUNDED_BITS = (3, 4, 5, 6, 8)
_SEARCHED = "ours, searched"
# Values of `--max-drop`, in points of accuracy.
_DROPS = {20: (0.25, 0.5, 1.0, 2.0), 56: ()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A method at one setting; `measure` returns the bytes, the accuracy and other facts to record."""

    depth: int
    method: str
    setting: str
    seed: int = 0
    measure: Callable[[], dict[str, Any]]

    @property
    def name(self) -> str:
        """Network, method and setting, and the seed unless it is 0."""
        return f"resnet{self.depth} {self.method} {self.setting}" + (f", seed {self.seed}" if self.seed else "")


def main() -> None:
    """Measure, record, and write the page and the chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[""], help="run only cases whose names contain one of these texts")
    parser.add_argument("--seconds", type=float, default=110.0, help="training budget for the ResNet20, in seconds")
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
        place = {"depth": case.depth, "method": case.method, "setting": case.setting, "seed": case.seed}
        runs[case.name] = place | found
        runs[case.name]["machine"] = describe_machine()
        print(f"{case.name}: {found['bytes']:,} bytes, {found['accuracy']:.2f} %", flush=True)
        record.write_text(json.dumps(runs, indent=2) + "\n")
        (RESULTS / "rate_accuracy.md").write_text(page(runs))
        (HERE.parent / "docs" / "rate-accuracy.svg").write_text(draw(runs), encoding="utf-8")


def cases(seconds: float, seed: int) -> Iterator[Case]:
    """Yield all cases, the quick ones first."""
    for depth, targets in _TARGETS.items():
        budget = seconds * SECONDS_FACTOR[depth]
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
                    seed=seed,
                    measure=partial(ours, depth, recipe, budget, seed, target_bytes=size),
                )
        for drop in _DROPS[depth]:
            yield Case(
                depth=depth,
                method=_SEARCHED,
                setting=f"max drop {drop:g}",
                seed=seed,
                measure=partial(ours, depth, RecipeName.FAST, budget, seed, max_drop=drop),
            )
        for bits in _DIRECT_BITS[depth]:
            yield Case(
                depth=depth,
                method="direct",
                setting=f"{bits} bits",
                seed=seed,
                measure=partial(direct, depth, bits, budget, seed),
            )


def ours(
    depth: int,
    recipe: RecipeName,
    seconds: float,
    seed: int,
    *,
    target_bytes: int | None = None,
    max_drop: float | None = None,
) -> dict[str, Any]:
    """Encode for a target size, or for the smallest size with an accuracy drop of at most `max_drop` points."""
    options = EncodeOptions(
        architecture=f"cifar-resnet{depth}",
        dataset=str(DATASET),
        recipe=recipe,
        target_bytes=target_bytes,
        max_drop=max_drop,
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
        "trials": [trial.model_dump() for trial in report.size_trials],
    }


def direct(depth: int, bits: int, seconds: float, seed: int) -> dict[str, Any]:
    """Quantize the weights directly, with distillation."""
    architecture = find_architecture(f"cifar-resnet{depth}")
    network = build_network(architecture, read_checkpoint(checkpoint_of(depth)).tensors, torch.device("cpu"))
    teacher = Teacher(
        network=network, preprocessing=architecture.preprocessing, images=read_image_set(DATASET, "train")
    )
    torch.manual_seed(seed)
    images = image_source(FAST.images, teacher, torch.Generator().manual_seed(seed))
    assert images is not None
    steps: list[int] = []
    result = quantize_directly(
        teacher, images, 2**bits, Budget(seconds=seconds), on_step=lambda step: steps.append(step.clock.step)
    )
    return {
        "bytes": result.bytes,
        "accuracy": accuracy(depth, result.tensors),
        "seconds": {"total": result.seconds},
        "steps": steps[-1],
    }


def nncodec(depth: int, parameter: int) -> dict[str, Any]:
    """Encode with NNCodec in its own environment."""
    interpreter = Path(os.environ.get("NERN_NNCODEC_PYTHON", HERE.parent / ".nncodec" / "bin" / "python"))
    coded = code_with_nncodec(read_checkpoint(checkpoint_of(depth)).tensors, interpreter, parameter)
    return {"bytes": coded.bytes, "accuracy": accuracy(depth, coded.tensors), "seconds": {"total": coded.seconds}}


def rounded(depth: int, bits: int) -> dict[str, Any]:
    """Round to nearest with one scale per row; count the entropy of the integers, and all else in fp16."""
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
    """Return the accuracy on the test split, in percent."""
    return open_evaluator(f"cifar-resnet{depth}", DATASET).accuracy(tensors)


def page(runs: dict[str, Any]) -> str:
    """Return the table of all points, by network and size."""
    letters = _letters(runs)
    lines = [
        "# Bytes against accuracy",
        "",
        "CIFAR-10, the public ResNets; accuracy on the 10,000 test images, measured once after the last step. Bytes of",
        "*ours* are the whole file; of NNCodec its bitstream; of *direct* (quantization-aware distillation of the",
        "weights themselves) and *round to nearest* the entropy of the integers with all else in fp16, and no file.",
        "Steps tell how far a training came, whatever the machine. Made by `python -m bench.rate_accuracy`.",
        "",
        *(f"- Machine {letter}: {machine}" for letter, machine in _machines(runs).items()),
    ]
    for depth in sorted({run["depth"] for run in runs.values()}):
        chosen = sorted((run for run in runs.values() if run["depth"] == depth), key=lambda run: run["bytes"])
        lines += [
            "",
            f"## ResNet{depth}",
            "",
            "| method | setting | seed | bytes | accuracy | seconds | steps | machine |",
        ]
        lines += ["|---|---|---|---|---|---|---|---|"]
        lines += [
            f"| {run['method']} | {run['setting']} | {run.get('seed', 0)} | {run['bytes']:,} | {run['accuracy']:.2f} | "
            f"{run['seconds'].get('distillation', run['seconds'].get('total', 0)):.0f} | {run.get('steps', '')} | "
            f"{letters[_kind_of(run)]} |"
            for run in chosen
        ]
    return "\n".join([*lines, ""])


def _letters(runs: dict[str, Any]) -> dict[tuple[str, bool], str]:
    """Assign a letter to each kind of machine: with bfloat16 units, a step takes about half as long."""
    kinds = sorted({_kind_of(run) for run in runs.values()}, key=lambda kind: (kind[0], not kind[1]))
    return dict(zip(kinds, ascii_uppercase, strict=False))


def _machines(runs: dict[str, Any]) -> dict[str, str]:
    """Describe each kind of machine by its letter, with the date of the last case on it."""
    letters, described = _letters(runs), {}
    for run in sorted(runs.values(), key=lambda run: run["machine"]["date"]):
        machine = run["machine"]
        units = "with" if machine["bfloat16_units"] else "without"
        described[letters[_kind_of(run)]] = (
            f"{machine['processor']} {units} bfloat16 units, {machine['cores']} cores, torch {machine['torch']}, "
            f"{machine['date']}"
        )
    return dict(sorted(described.items()))


def _kind_of(run: dict[str, Any]) -> tuple[str, bool]:
    """Return the processor, and true if it has bfloat16 units."""
    return run["machine"]["processor"], run["machine"]["bfloat16_units"]


def draw(runs: dict[str, Any]) -> str:
    """Draw accuracy against kilobytes for ResNet20."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for run in runs.values():
        if run["depth"] == 20 and run["accuracy"] > 70 and not run.get("seed") and run["method"] != _SEARCHED:
            lines.setdefault(run["method"], []).append((run["bytes"] / 1000, run["accuracy"]))
    series = [Series(name, tuple(sorted(points))) for name, points in sorted(lines.items())]
    return line_chart(series, title="ResNet20 on CIFAR-10", x_label="kilobytes", y_label="test accuracy, %")


if __name__ == "__main__":
    main()
