"""Choice of the recipe `fast`: its variants on the public ResNet20, at the same budget.

python -m bench.fast_recipe [--steps 3300 | --seconds 150] [--seeds 0] writes bench/results/fast_recipe.json. The
test split is never used: 5,000 images are held out of the training split. The original has seen them in its own
training and is confident about them, so they are blended, two of a class, and are then as new to it as the test split.
The measure is the agreement of both networks on these images: in classes, and in probabilities (KL divergence, nats).
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.assets import DATASET, RESULTS, checkpoint_of
from bench.machine import describe_machine
from nern_core.contract.options import EncodeOptions
from nern_core.encoder import encode
from nern_core.networks import build_network, find_architecture
from nern_core.networks.datasets import read_image_set, to_inputs
from nern_core.recipes import Recipe
from nern_core.recipes.fast import FAST
from nern_core.representations.predicted.distill import LossTerm
from nern_core.tensors.checkpoint import Checkpoint
from nern_core.training.clock import Share
from nern_core.training.held_out import hold_out
from nern_core.training.losses import logit_divergence
from nern_core.training.optim import OptimizerConfig

ARCHITECTURE = find_architecture("cifar-resnet20")


def main() -> None:
    """Measure every variant and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--only", nargs="*", default=[""], help="run only variants whose names contain one of these texts"
    )
    arguments = parser.parse_args()
    budget = {"steps": arguments.steps} if arguments.steps else {"seconds": arguments.seconds or 150.0}
    runs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_held_out(folder)
        for label, recipe in variants().items():
            if any(part in label for part in arguments.only):
                for seed in arguments.seeds:
                    run = {"variant": label, "seed": seed} | measure(recipe, folder, budget, seed)
                    print(json.dumps(run), flush=True)
                    runs.append(run)
    result = {"machine": describe_machine(), "budget": budget, "runs": runs}
    (RESULTS / "fast_recipe.json").write_text(json.dumps(result, indent=2) + "\n")


def variants() -> dict[str, Recipe]:
    """Return the recipe with one change each."""
    distillation = FAST.predictor.distillation
    return {
        "fast": FAST,
        "exact divergence": with_predictor(distillation=replace(distillation, logit_distance="exact")),
        "no mixup": replace(FAST, images=replace(FAST.images, mixup=False)),
        "no anchor": with_predictor(distillation=replace(distillation, reconstruction=LossTerm(weight=0.0))),
        "Fisher weights": with_predictor(reconstruction=replace(FAST.predictor.reconstruction, fisher_images=512)),
        "distillation learning rate 0.0005": distilled_at(0.0005),
        "distillation learning rate 0.002": distilled_at(0.002),
        "a quarter of the time for reconstruction": with_predictor(
            reconstruction=replace(FAST.predictor.reconstruction, share=Share(seconds=0.25, steps=0.8)),
            distillation=replace(distillation, share=Share(seconds=0.75, steps=0.2)),
        ),
    }


def with_predictor(**changes: Any) -> Recipe:  # noqa: ANN401 # the fields of PredictorSettings
    """Return the recipe with other settings of the predictor."""
    return replace(FAST, predictor=replace(FAST.predictor, **changes))


def distilled_at(learning_rate: float) -> Recipe:
    """Return the recipe with another learning rate in its last phase."""
    optimizer = OptimizerConfig(name="muon", learning_rate=learning_rate, bias_learning_rate=learning_rate / 10)
    return with_predictor(distillation=replace(FAST.predictor.distillation, optimizer=optimizer))


def write_held_out(folder: Path) -> None:
    """Write a data set whose test split is blended from part of the training split."""
    for name, images in zip(("train", "test"), hold_out(read_image_set(DATASET, "train")), strict=True):
        np.savez(
            folder / f"{name}.npz",
            images=images.images.permute(0, 2, 3, 1).contiguous().numpy(),
            labels=images.labels.numpy(),
        )


def measure(recipe: Recipe, dataset: Path, budget: dict[str, Any], seed: int) -> dict[str, Any]:
    """Encode with the recipe; return the comparison with the original on the held-out images."""
    options = EncodeOptions(architecture=ARCHITECTURE.name, dataset=str(dataset), hidden_size=160, seed=seed, **budget)
    result = encode(checkpoint_of(20), dataset / "r20.nern", options, recipe=recipe)
    images = read_image_set(dataset, "test").images
    original, decoded = (
        logits_of(checkpoint, images) for checkpoint in (result.comparison.original, result.comparison.decoded)
    )
    metrics = result.report.metrics
    agreement = (original.argmax(dim=1) == decoded.argmax(dim=1)).double().mean()
    return {
        "agreement": round(100 * float(agreement), 2),
        "divergence": round(float(logit_divergence(decoded, original)), 4),
        "original_accuracy": metrics.original_accuracy,
        "reconstructed_accuracy": metrics.reconstructed_accuracy,
        "relative_error": metrics.relative_error,
        "steps": {point.phase: point.step for point in result.report.curve},
    }


@torch.no_grad()
def logits_of(checkpoint: Checkpoint, images: Tensor) -> Tensor:
    """Return the logits of the network with these weights, (n, classes)."""
    network = build_network(ARCHITECTURE, checkpoint.tensors)
    return torch.cat([network(to_inputs(batch, ARCHITECTURE.preprocessing)) for batch in images.split(500)])


if __name__ == "__main__":
    main()
