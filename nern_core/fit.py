"""Fit a predictor by a recipe: its phases one after another within one budget."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nern_core.datasets import augment, to_inputs
from nern_core.fisher import kernel_fisher
from nern_core.optim import OptimizerConfig, Optimizers
from nern_core.predictor import Predictor
from nern_core.progress import Phase
from nern_core.recipes import Recipe
from nern_core.targets import Targets, rearrange
from nern_core.training.clock import Budget, Clock, Share
from nern_core.training.distill import DistillationLoss, Teacher
from nern_core.training.loop import StepReport, train
from nern_core.training.predictions import Predictions
from nern_core.training.reconstruct import ReconstructionLoss

_IMAGES_PER_BATCH = 64
# Share of a budget in seconds that estimating the Fisher information may take.
_MOST_FOR_FISHER = 0.1


@dataclass(frozen=True, slots=True)
class FitReport:
    """A step of a phase; `start` and `share` are the phase's place in the time of all phases, 0 to 1."""

    phase: Phase
    start: float
    share: float
    step: StepReport


@dataclass(frozen=True, slots=True)
class _Stage:
    phase: Phase
    share: Share
    optimizer: OptimizerConfig
    loss: Callable[[], Tensor]


def fit(
    recipe: Recipe,
    predictor: Predictor,
    targets: Targets,
    teacher: Teacher | None,
    budget: Budget,
    generator: torch.Generator,
    on_step: Callable[[FitReport], None],
) -> dict[str, float]:
    """Train `predictor` in place; returns the seconds of each phase.

    Without a teacher, reconstruction has the whole budget. Estimating the Fisher information
    counts as reconstruction. Raises `NernError` (`diverged`).
    """
    started = time.perf_counter()
    stages = _stages(recipe, predictor, targets, teacher, budget, generator)
    preparation = time.perf_counter() - started
    if budget.seconds is not None:
        budget = Budget(seconds=max(0.0, budget.seconds - preparation))
    optimizers, start, seconds = None, 0.0, {}
    for stage in stages:
        if optimizers is None or not recipe.one_schedule:
            optimizers = Optimizers(stage.optimizer, predictor)
        window = (start, stage.share.seconds) if recipe.one_schedule else (0.0, 1.0)
        clock = Clock(budget.part(stage.share))
        train(
            stage.loss,
            optimizers,
            clock,
            window,
            lambda step, stage=stage, start=start: on_step(  # type: ignore[misc] # defaults bind the loop's values
                FitReport(stage.phase, start, stage.share.seconds, step)
            ),
        )
        seconds[stage.phase.value] = clock.elapsed + (preparation if stage is stages[0] else 0.0)
        start += stage.share.seconds
    return seconds


def _fisher(
    images: int, targets: Targets, teacher: Teacher, budget: Budget, generator: torch.Generator
) -> dict[str, Tensor]:
    """Fisher information of the represented kernels on some training images, (F, C) by layer."""
    batches = _fisher_batches(images, teacher, budget.seconds, generator)
    return kernel_fisher(teacher.network, batches, {layer.name for layer in targets.layers}, generator)


def _fisher_batches(
    images: int, teacher: Teacher, seconds: float | None, generator: torch.Generator
) -> Iterator[Tensor]:
    """Batches of augmented inputs, (n, 3, H, W): as many images as asked for, or as the budget in seconds allows.

    Augmented: on images as they are, the network is so sure that few of them say anything.
    """
    started = time.perf_counter()
    device = next(teacher.network.parameters()).device
    chosen = torch.randperm(len(teacher.images), generator=generator)[:images]
    for rows in chosen.split(_IMAGES_PER_BATCH):
        augmented = augment(teacher.images.images[rows], teacher.preprocessing, generator)
        yield to_inputs(augmented.to(device), teacher.preprocessing)
        if seconds is not None and time.perf_counter() - started > _MOST_FOR_FISHER * seconds:
            return


def _stages(
    recipe: Recipe,
    predictor: Predictor,
    targets: Targets,
    teacher: Teacher | None,
    budget: Budget,
    generator: torch.Generator,
) -> list[_Stage]:
    reconstruct, distill = recipe.reconstruction, recipe.distillation
    fisher = {}
    if teacher is not None and reconstruct.fisher_images:
        fisher = _fisher(reconstruct.fisher_images, targets, teacher, budget, generator)
    importance = _importance(targets, fisher) if fisher else None
    loss = ReconstructionLoss(reconstruct, predictor, targets, generator, importance)
    if teacher is None:
        return [_Stage(Phase.RECONSTRUCTION, Share(seconds=1.0, steps=1.0), reconstruct.optimizer, loss)]
    predictions = Predictions(distill.sampling, predictor, targets, generator)
    distillation = DistillationLoss(distill, predictions, targets, teacher, generator)
    return [
        _Stage(Phase.RECONSTRUCTION, reconstruct.share, reconstruct.optimizer, loss),
        _Stage(Phase.DISTILLATION, distill.share, distill.optimizer, distillation),
    ]


def _importance(targets: Targets, fisher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Square root of each kernel's Fisher information, mean 1 over all kernels, (n,) for each head.

    The root: weighting by the information itself was measured to be worse. Layers without get the mean.
    """
    roots = {
        index: rearrange(fisher[layer.name].flatten().cpu(), targets.orders[index]).sqrt()
        for index, layer in enumerate(targets.layers)
        if layer.name in fisher
    }
    mean = torch.cat(list(roots.values())).mean()
    return {
        head: torch.cat(
            [roots[i] / mean if i in roots else torch.ones(targets.layers[i].kernels) for i in target.layers]
        ).to(target.kernels.device)
        for head, target in targets.heads.items()
    }
