"""Accuracy drop by file size: estimated on held-out training images during and after training, and on the test split.

python -m bench.cost_of_size [--seconds 110] [--networks ResNet20 ResNet56 digits] trains the networks at several sizes,
which stay fixed during training, writes results/cost_of_size.json and, from all recorded runs, cost_of_size.md.
`nern encode --max-drop` relies on two results: the estimate agrees with the drop on the test split, and an early
estimate shrinks by a known factor until the end. The digits are the example's: few and easy images.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from bench.assets import DATASET, EXAMPLES, RESULTS, SECONDS_FACTOR, checkpoint_of
from bench.machine import describe_machine
from nern_core.container.rebuild import all_tensors
from nern_core.contract.options import EncodeOptions
from nern_core.inputs.source import EncodingInput, read_input
from nern_core.inputs.teacher import make_teacher
from nern_core.networks.evaluate import Evaluator
from nern_core.recipes.fast import FAST
from nern_core.representations.quantized.quantizer import Quantized, Quantizer
from nern_core.representations.quantized.trainer import Trainer, TrainingInputs
from nern_core.representations.quantized.weights import decoded_tensor
from nern_core.training.clock import Budget
from nern_core.training.expected_drop import OriginalAnswers, PointsLost, expected_drop
from nern_core.training.held_out import hold_out
from nern_core.training.image_source import image_source
from nern_core.training.snapshots import Snapshots
from nern_core.training.teacher import Teacher

_FRACTIONS = (0.15, 0.35, 0.6, 1.0)
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A network, its data, and the sizes to measure.

    `seconds_factor`: its budget relative to that of the ResNet20.
    """

    checkpoint: Path
    architecture: str
    dataset: Path
    seconds_factor: float
    bits_per_weight: tuple[float, ...]
    seeds: int = 1


def _resnet(depth: int, bits_per_weight: tuple[float, ...]) -> Network:
    return Network(
        checkpoint=checkpoint_of(depth),
        architecture=f"cifar-resnet{depth}",
        dataset=DATASET,
        seconds_factor=SECONDS_FACTOR[depth],
        bits_per_weight=bits_per_weight,
    )


_NETWORKS = {
    "ResNet20": _resnet(20, (1.2, 1.6, 2.0, 2.5, 3.0)),
    "ResNet56": _resnet(56, (1.2, 1.6, 2.5)),
    "digits": Network(
        checkpoint=EXAMPLES / "digits-cnn.safetensors",
        architecture="digits-cnn",
        dataset=EXAMPLES / "digits",
        seconds_factor=0.1,
        bits_per_weight=(0.6, 0.8, 1.0, 1.3),
        # Of 500 test images, few are lost, so a single training says little.
        seeds=4,
    ),
}


def main() -> None:
    """Measure, record, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=110.0, help="budget per size for the ResNet20, in seconds")
    parser.add_argument("--networks", nargs="*", default=list(_NETWORKS), choices=list(_NETWORKS))
    arguments = parser.parse_args()
    record = RESULTS / "cost_of_size.json"
    runs: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    for name in arguments.networks:
        for run in measure(_NETWORKS[name], arguments.seconds):
            label = f"{name} {run['bits_per_weight']} bits, seed {run['seed']}"
            runs[label] = {"network": name} | run | {"machine": describe_machine()}
            print(label, run, flush=True)
            record.write_text(json.dumps(runs, indent=2) + "\n")
            (RESULTS / "cost_of_size.md").write_text(page(runs))


def measure(network: Network, seconds: float) -> Iterator[dict[str, Any]]:
    """Train at each size, and measure during training."""
    options = EncodeOptions(architecture=network.architecture, dataset=str(network.dataset), target_bytes=1_000_000)
    source = read_input(network.checkpoint, options, reads_training_images=True)
    teacher = make_teacher(source, _CPU, options, None, compares_features=False)
    test = source.evaluator(_CPU)
    assert teacher is not None
    assert teacher.images is not None
    assert test is not None
    rest, held_out = hold_out(teacher.images)
    teacher = replace(teacher, images=rest)
    blends = replace(test, images=held_out)
    for bits_per_weight, seed in product(network.bits_per_weight, range(network.seeds)):
        budget = Budget(seconds=seconds * network.seconds_factor)
        trainer, losses, tensors = _train(source, teacher, blends, bits_per_weight, seed, budget)
        yield {
            "bits_per_weight": bits_per_weight,
            "seed": seed,
            "steps": trainer.steps,
            "seconds": round(trainer.seconds, 1),
            "losses": [{"thought": round(loss.thought, 3), "counted": round(loss.counted, 3)} for loss in losses],
            "test": round(test.accuracy(source.checkpoint.tensors) - test.accuracy(tensors), 2),
        }


def _train(
    source: EncodingInput, teacher: Teacher, blends: Evaluator, bits_per_weight: float, seed: int, budget: Budget
) -> tuple[Trainer, list[PointsLost], dict[str, Tensor]]:
    """Train at one size; also return the points lost during training, and all tensors at the end."""
    images = image_source(FAST.images, teacher, torch.Generator().manual_seed(seed))
    assert images is not None
    training = TrainingInputs(
        config=FAST.quantization,
        teacher=teacher,
        images=images,
        budget=budget,
        on_step=lambda stage, step: None,
        snapshots=Snapshots(),
    )
    original = source.checkpoint.tensors
    answers = OriginalAnswers(blends.logits(original), blends.images.labels)
    quantizer = Quantizer(original, source.layers, teacher.network, has_inputs=True)
    bits = bits_per_weight * quantizer.weights
    trainer = Trainer(training, quantizer, quantizer.start(quantizer.plan(), bits), bits)
    losses, start, tensors = [], 0.0, original
    for end in _FRACTIONS:
        trainer.run(end - start, (start, end - start))
        start = end
        tensors = decoded(quantizer, quantizer.rounded(trainer.parameters))
        losses.append(answers.loss(blends.logits(tensors)))
    return trainer, losses, tensors


def decoded(quantizer: Quantizer, quantized: Quantized) -> dict[str, Tensor]:
    """Return all tensors as decoded from the file."""
    parts = zip(quantizer.layers, quantized.layers, strict=True)
    return all_tensors(
        {layer.name: decoded_tensor(coded, layer) for layer, coded in parts}, quantized.kept, quantized.tied
    )


def page(runs: dict[str, Any]) -> str:
    """Return a table of all sizes, and the remaining share of an early estimate. Rows are means over all seeds."""
    machine = next(iter(runs.values()))["machine"]
    lines = [
        "# What a size costs",
        "",
        "The public ResNets on CIFAR-10 and the example's network on its digits, quantized and trained at one size.",
        "Points of accuracy that are lost: *thought* by the original and *counted* on blends of held-out training",
        "images at the end (5,000 of them; of the digits 2,600, made of 130), *expected* from both after parts of the",
        "training, as `--max-drop` does it, and lost on the images of the *test* split (10,000; 500 digits).",
        f"Measured on {machine['processor']}, {machine['cores']} cores, torch {machine['torch']}, {machine['date']}.",
        "Made by `python -m bench.cost_of_size`.",
        "",
        "| network | bits per weight | trainings | steps | thought | counted | expected after "
        + " | ".join(f"{fraction:.0%}" for fraction in _FRACTIONS)
        + " | test |",
        "|" + "---|" * (7 + len(_FRACTIONS)),
    ]
    order = sorted(runs.values(), key=lambda run: (list(_NETWORKS).index(run["network"]), run["bits_per_weight"]))
    for (network, bits), rows in groupby(order, key=lambda run: (run["network"], run["bits_per_weight"])):
        lines.append(_row(network, bits, list(rows)))
    return "\n".join([*lines, ""])


def _row(network: str, bits: float, runs: list[dict[str, Any]]) -> str:
    losses = [[PointsLost(**loss) for loss in run["losses"]] for run in runs]
    expected = [fmean(expected_drop(of_run[:count]) for of_run in losses) for count in range(1, len(_FRACTIONS) + 1)]
    thought, counted = (fmean(getattr(of_run[-1], kind) for of_run in losses) for kind in ("thought", "counted"))
    figures = (thought, counted, *expected, fmean(run["test"] for run in runs))
    steps = round(fmean(run["steps"] for run in runs))
    return f"| {network} | {bits} | {len(runs)} | {steps} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |"


if __name__ == "__main__":
    main()
