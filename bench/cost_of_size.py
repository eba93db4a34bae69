"""What a size costs: as estimated on held-out training images, on the way and at the end, and on the test split.

python -m bench.cost_of_size [--seconds 110] [--depths 20 56] trains the networks at several sizes, which stay the same
on the way, and writes results/cost_of_size.json and, of all that is recorded, cost_of_size.md. `nern encode --max-drop`
relies on what it shows: that the estimate agrees with what the test split loses, and how much of an early estimate is
left at the end.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.assets import DATASET, RESULTS, SECONDS_FACTOR, checkpoint_of
from bench.machine import describe_machine
from nern_core.decode import all_tensors
from nern_core.encoding_input import make_teacher, read_input
from nern_core.options import EncodeOptions
from nern_core.rate_distortion.quantizer import Quantized, Quantizer
from nern_core.rate_distortion.trainer import Trainer, Training
from nern_core.recipes.fast import FAST
from nern_core.snapshots import Snapshots
from nern_core.training.clock import Budget
from nern_core.training.expected_drop import Loss, OriginalAnswers, expected_drop
from nern_core.training.held_out import hold_out
from nern_core.training.image_source import image_source

_BITS_PER_WEIGHT = {20: (1.2, 1.6, 2.0, 2.5, 3.0), 56: (1.2, 1.6, 2.5)}
_FRACTIONS = (0.15, 0.35, 0.6, 1.0)
_CPU = torch.device("cpu")


def main() -> None:
    """Measure, record, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=110.0, help="budget of one size, for the ResNet20")
    parser.add_argument("--depths", type=int, nargs="*", default=[20, 56], choices=[20, 56])
    arguments = parser.parse_args()
    record = RESULTS / "cost_of_size.json"
    runs: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    for depth in arguments.depths:
        for run in measure(depth, arguments.seconds * SECONDS_FACTOR[depth]):
            runs[f"resnet{depth} {run['bits_per_weight']} bits"] = run | {"machine": describe_machine()}
            print(run, flush=True)
            record.write_text(json.dumps(runs, indent=2) + "\n")
            (RESULTS / "cost_of_size.md").write_text(page(runs))


def measure(depth: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Train at each size, and measure on the way."""
    options = EncodeOptions(architecture=f"cifar-resnet{depth}", dataset=str(DATASET), target_bytes=1_000_000)
    source = read_input(checkpoint_of(depth), options, FAST)
    teacher, test = make_teacher(source, _CPU, options, FAST, None), source.evaluator(_CPU)
    assert teacher is not None
    assert teacher.images is not None
    assert test is not None
    rest, held_out = hold_out(teacher.images)
    teacher = replace(teacher, images=rest)
    tensors = source.checkpoint.tensors
    blends = replace(test, images=held_out)
    answers = OriginalAnswers(blends.logits(tensors), held_out.labels)
    for bits_per_weight in _BITS_PER_WEIGHT[depth]:
        images = image_source(FAST.distillation, teacher, torch.Generator().manual_seed(0))
        assert images is not None
        training = Training(
            config=FAST.quantization,
            teacher=teacher,
            images=images,
            budget=Budget(seconds=seconds),
            on_step=lambda stage, step: None,
            snapshots=Snapshots(),
        )
        quantizer = Quantizer(tensors, source.layers, teacher.network, training=True)
        bits = bits_per_weight * quantizer.weights
        trainer = Trainer(training, quantizer, quantizer.start(bits), bits)
        losses, start = [], 0.0
        for end in _FRACTIONS:
            trainer.run(end - start, (start, end - start))
            start = end
            now = decoded(quantizer, quantizer.rounded(trainer.parameters))
            losses.append(answers.loss(blends.logits(now)))
        yield {
            "depth": depth,
            "bits_per_weight": bits_per_weight,
            "steps": trainer.steps,
            "seconds": seconds,
            "losses": [{"thought": round(loss.thought, 3), "counted": round(loss.counted, 3)} for loss in losses],
            "test": round(test.accuracy(tensors) - test.accuracy(now), 2),
        }


def decoded(quantizer: Quantizer, quantized: Quantized) -> dict[str, Tensor]:
    """All tensors, as they would come out of the file."""
    parts = zip(quantizer.layers, quantized.layers, strict=True)
    return all_tensors({layer.name: x.weights(layer) for layer, x in parts}, quantized.kept, quantized.tied)


def page(runs: dict[str, Any]) -> str:
    """A table of all sizes, and what is left of an early estimate."""
    machine = next(iter(runs.values()))["machine"]
    lines = [
        "# What a size costs",
        "",
        "CIFAR-10, the public ResNets, quantized and trained at one size. Points of accuracy that are lost: *thought*",
        "by the original and *counted* on 5,000 blends of held-out training images at the end, *expected* from both",
        "after parts of the training, as `--max-drop` does it, and lost on the 10,000 images of the *test* split.",
        f"Measured on {machine['processor']}, {machine['cores']} cores, torch {machine['torch']}, {machine['date']}.",
        "Made by `python -m bench.cost_of_size`.",
        "",
        "| network | bits per weight | steps | thought | counted | expected after "
        + " | ".join(f"{fraction:.0%}" for fraction in _FRACTIONS)
        + " | test |",
        "|" + "---|" * (6 + len(_FRACTIONS)),
    ]
    for run in sorted(runs.values(), key=lambda run: (run["depth"], run["bits_per_weight"])):
        losses = [Loss(**loss) for loss in run["losses"]]
        expected = [expected_drop(losses[: number + 1]) for number in range(len(losses))]
        lines.append(
            f"| ResNet{run['depth']} | {run['bits_per_weight']} | {run['steps']} | {losses[-1].thought:.2f} | "
            f"{losses[-1].counted:.2f} | " + " | ".join(f"{drop:.2f}" for drop in expected) + f" | {run['test']:.2f} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
