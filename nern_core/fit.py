"""Fit a predictor by a recipe: its phases one after another within one budget."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nern_core.curvature import Curvature, estimate_curvature
from nern_core.datasets import augment, to_inputs
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
from nern_core.training.refine import RefinementLoss

_IMAGES_PER_BATCH = 64
# Share of a budget in seconds that estimating the curvature may take.
_MOST_FOR_CURVATURE = 0.1


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

    Without a teacher, reconstruction has the whole budget. Estimating the curvature counts as
    reconstruction. Raises `NernError` (`diverged`).
    """
    started = time.perf_counter()
    curvature = _curvature(recipe, targets, teacher, budget, generator)
    stages = _stages(recipe, predictor, targets, teacher, generator, curvature)
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


def _curvature(
    recipe: Recipe, targets: Targets, teacher: Teacher | None, budget: Budget, generator: torch.Generator
) -> dict[str, Curvature]:
    """Curvature of the represented layers on some training images; empty where the recipe does without."""
    if teacher is None or recipe.refinement is None:
        return {}
    batches = _curvature_batches(recipe.refinement.images, teacher, budget.seconds, generator)
    return estimate_curvature(teacher.network, batches, {layer.name for layer in targets.layers}, generator)


def _curvature_batches(
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
        if seconds is not None and time.perf_counter() - started > _MOST_FOR_CURVATURE * seconds:
            return


def _stages(
    recipe: Recipe,
    predictor: Predictor,
    targets: Targets,
    teacher: Teacher | None,
    generator: torch.Generator,
    curvature: dict[str, Curvature],
) -> list[_Stage]:
    reconstruct, refine, distill = recipe.reconstruction, recipe.refinement, recipe.distillation
    importance = _importance(targets, curvature) if curvature else None
    loss = ReconstructionLoss(reconstruct, predictor, targets, generator, importance)
    if teacher is None:
        return [_Stage(Phase.RECONSTRUCTION, Share(seconds=1.0, steps=1.0), reconstruct.optimizer, loss)]
    predictions = Predictions(distill.sampling, predictor, targets, generator)
    stages = [_Stage(Phase.RECONSTRUCTION, reconstruct.share, reconstruct.optimizer, loss)]
    if refine is not None and curvature:
        weights = {layer.name: teacher.network.state_dict()[layer.name] for layer in targets.layers}
        refinement = RefinementLoss(predictions, targets, weights, curvature)
        stages.append(_Stage(Phase.REFINEMENT, refine.share, refine.optimizer, refinement))
    distillation = DistillationLoss(distill, predictions, targets, teacher, generator, curvature)
    stages.append(_Stage(Phase.DISTILLATION, distill.share, distill.optimizer, distillation))
    return _with_whole_budget(stages)


def _with_whole_budget(stages: Sequence[_Stage]) -> list[_Stage]:
    """A phase that a network does without leaves its share to the others."""
    seconds, steps = sum(s.share.seconds for s in stages), sum(s.share.steps for s in stages)
    return [
        replace(stage, share=Share(seconds=stage.share.seconds / seconds, steps=stage.share.steps / steps))
        for stage in stages
    ]


def _importance(targets: Targets, curvature: Mapping[str, Curvature]) -> dict[str, Tensor]:
    """Square root of each kernel's mean Fisher information, mean 1 over all kernels, (n,) for each head.

    The root: weighting by the information itself was measured to be worse. Layers of unknown
    curvature get the mean.
    """
    fisher: dict[int, Tensor] = {}
    for index, layer in enumerate(targets.layers):
        if layer.name in curvature:
            fisher[index] = rearrange(curvature[layer.name].fisher.flatten().cpu(), targets.orders[index]).sqrt()
    mean = torch.cat(list(fisher.values())).mean()
    return {
        head: torch.cat(
            [fisher[i] / mean if i in fisher else torch.ones(targets.layers[i].kernels) for i in target.layers]
        ).to(target.kernels.device)
        for head, target in targets.heads.items()
    }
