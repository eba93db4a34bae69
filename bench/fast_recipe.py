"""How the recipe `fast` was chosen: variants of it on the public ResNet20, at the same budget in seconds.

python -m bench.fast_recipe [--seconds 150] [--seeds 0] writes bench/results/fast_recipe.json. The test
split is never touched: 5,000 images are held out of the training split, and the accuracy is theirs.
The original has seen them in its own training, so only the differences between variants mean something.
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.machine import describe_machine
from nern_core.encode import encode
from nern_core.optim import OptimizerConfig
from nern_core.options import EncodeOptions
from nern_core.recipes import Recipe
from nern_core.recipes.fast import FAST
from nern_core.training.distill import LossTerm

HERE = Path(__file__).parent
ASSETS = Path(os.environ.get("NERN_TEST_ASSETS", HERE.parent.parent / "shared"))
HELD_OUT = 5000


def main() -> None:
    """Measure every variant and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hold_out(folder)
        for label, recipe in variants().items():
            for seed in arguments.seeds:
                run = {"variant": label, "seed": seed} | measure(recipe, folder, arguments.seconds, seed)
                print(json.dumps(run), flush=True)
                runs.append(run)
    result = {"machine": describe_machine(), "budget_seconds": arguments.seconds, "runs": runs}
    (HERE / "results" / "fast_recipe.json").write_text(json.dumps(result, indent=2) + "\n")


def variants() -> dict[str, Recipe]:
    """One change to the recipe at a time."""
    return {
        "fast": FAST,
        "distillation learning rate 0.002": distilled_at(0.002),
        "distillation learning rate 0.005": distilled_at(0.005),
        "no anchor": replace(FAST, distillation=replace(FAST.distillation, reconstruction=LossTerm(weight=0.0))),
        "no Fisher weights": replace(FAST, reconstruction=replace(FAST.reconstruction, fisher_images=0)),
    }


def distilled_at(learning_rate: float) -> Recipe:
    """The recipe with another learning rate of its last phase."""
    optimizer = OptimizerConfig(name="muon", learning_rate=learning_rate, bias_learning_rate=learning_rate / 10)
    return replace(FAST, distillation=replace(FAST.distillation, optimizer=optimizer))


def hold_out(folder: Path) -> None:
    """Write a data set whose test split is a part of the training split."""
    with np.load(ASSETS / "data" / "cifar10" / "train.npz") as file:
        images, labels = file["images"], file["labels"]
    order = np.random.default_rng(1).permutation(len(images))
    for split, chosen in (("test", order[:HELD_OUT]), ("train", order[HELD_OUT:])):
        np.savez(folder / f"{split}.npz", images=images[chosen], labels=labels[chosen])


def measure(recipe: Recipe, dataset: Path, seconds: float, seed: int) -> dict[str, float | None]:
    """Encode with the recipe; returns the accuracy on the held-out images in percent, and the error."""
    options = EncodeOptions(
        architecture="cifar-resnet20", dataset=str(dataset), hidden_size=160, seconds=seconds, seed=seed
    )
    checkpoint = ASSETS / "checkpoints" / "cifar10-resnet20.th"
    metrics = encode(checkpoint, dataset / "r20.nern", options, recipe=recipe).report.metrics
    return {
        "original_accuracy": metrics.original_accuracy,
        "reconstructed_accuracy": metrics.reconstructed_accuracy,
        "relative_error": metrics.relative_error,
    }


if __name__ == "__main__":
    main()
