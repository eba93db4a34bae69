"""Train a predictor in stages within one budget: rounds of reconstruction, then distillation."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from nern_core.contract.progress import Phase
from nern_core.representations.predicted.distill import DistillationLoss
from nern_core.representations.predicted.kernel_weights import kernel_weights
from nern_core.representations.predicted.predictions import Predictions
from nern_core.representations.predicted.predictor import Predictor
from nern_core.representations.predicted.reconstruct import ReconstructionLoss
from nern_core.representations.predicted.sampling import SamplingConfig
from nern_core.representations.predicted.settings import PredictorSettings
from nern_core.representations.predicted.targets import Targets
from nern_core.training.clock import Budget, Clock, Share
from nern_core.training.image_source import ImageSettings, input_source
from nern_core.training.loop import StepReport, train
from nern_core.training.observer import TrainingStep
from nern_core.training.optim import OptimizerConfig, make_optimizers
from nern_core.training.snapshots import Snapshots
from nern_core.training.teacher import Teacher


def train_predictor(
    settings: PredictorSettings,
    image_settings: ImageSettings,
    predictor: Predictor,
    targets: Targets,
    teacher: Teacher | None,
    budget: Budget,
    generator: torch.Generator,
    on_step: Callable[[TrainingStep], None],
    rounds: int = 1,
    snapshots: Snapshots | None = None,
) -> dict[Phase, float]:
    """Train `predictor` in place and return the seconds of each phase.

    Reconstruction has `rounds` rounds of equal length; each fits a fresh predictor to the previous round's
    reconstruction (progressive reconstruction, arXiv 2407.00356). Distillation follows the last round and compares with
    the original. Without a teacher, or without the images of the settings, reconstruction gets the whole budget.
    Estimating the Fisher information counts as reconstruction. Raises `NernError` (`diverged`).
    """
    started = time.perf_counter()
    weights = kernel_weights(settings.reconstruction.fisher_images, targets, teacher, budget.seconds, generator)
    preparation = time.perf_counter() - started
    budget = budget.after(preparation)
    reconstruction, distillation = settings.reconstruction, settings.distillation
    images = None if teacher is None else input_source(image_settings, teacher, generator)
    whole = Share(seconds=1.0, steps=1.0) if images is None else reconstruction.share
    share = Share(seconds=whole.seconds / rounds, steps=whole.steps / rounds)
    trainer = _Trainer(predictor, budget, on_step, snapshots or Snapshots())
    goal = targets
    for later_rounds in reversed(range(rounds)):
        loss = ReconstructionLoss(reconstruction, predictor, goal, generator, weights)
        stages = [_PlannedStage(Phase.RECONSTRUCTION, share, reconstruction.optimizer, loss, later_rounds)]
        if later_rounds > 0:
            trainer.run(stages, one_schedule=False)
            goal = _reconstruction(predictor, goal, generator)
            _renew(predictor, generator)
    if teacher is not None and images is not None:
        predictions = Predictions(distillation.sampling, predictor, targets, generator, distillation.refresh)
        comparison = DistillationLoss(distillation, predictions, targets, teacher, images)
        stages.append(_PlannedStage(Phase.DISTILLATION, distillation.share, distillation.optimizer, comparison))
    trainer.run(stages, one_schedule=settings.one_schedule)
    trainer.seconds[Phase.RECONSTRUCTION] += preparation
    return trainer.seconds


@dataclass(frozen=True, slots=True)
class _PlannedStage:
    """A phase, or one round of it."""

    phase: Phase
    share: Share
    optimizer: OptimizerConfig
    loss: ReconstructionLoss | DistillationLoss
    later_rounds: int = 0


class _Trainer:
    """Runs stages one after another and tracks their place, steps and seconds."""

    def __init__(
        self, predictor: Predictor, budget: Budget, on_step: Callable[[TrainingStep], None], snapshots: Snapshots
    ) -> None:
        self._predictor = predictor
        self._budget = budget
        self._on_step = on_step
        self._snapshots = snapshots
        self._start = 0.0
        self._steps: dict[Phase, int] = {}
        self.seconds: dict[Phase, float] = {}

    def run(self, stages: Sequence[_PlannedStage], *, one_schedule: bool) -> None:
        """Train through the stages, with one optimizer and one cosine schedule for all of them or one for each."""
        whole, first = sum(stage.share.seconds for stage in stages), self._start
        optimizers = None
        for stage in stages:
            if optimizers is None or not one_schedule:
                optimizers = make_optimizers(stage.optimizer, self._predictor)
            window = ((self._start - first) / whole, stage.share.seconds / whole) if one_schedule else (0.0, 1.0)
            clock = Clock(self._budget.part(stage.share))
            train(stage.loss, optimizers, clock, window, partial(self._report, stage), self._snapshots)
            self.seconds[stage.phase] = self.seconds.get(stage.phase, 0.0) + clock.elapsed
            self._steps[stage.phase] = self._steps.get(stage.phase, 0) + clock.step
            self._start += stage.share.seconds

    def _report(self, stage: _PlannedStage, step: StepReport) -> None:
        earlier, in_round = self._steps.get(stage.phase, 0), step.clock.total_steps
        self._on_step(
            TrainingStep(
                phase=stage.phase,
                start=self._start,
                share=stage.share.seconds,
                earlier_steps=earlier,
                # Rounds are of equal length.
                total_steps=None if in_round is None else earlier + in_round * (1 + stage.later_rounds),
                step=step,
                kernels=stage.loss.predictions.made,
            )
        )


@torch.no_grad()
def _reconstruction(predictor: Predictor, targets: Targets, generator: torch.Generator) -> Targets:
    """Return the targets with the predictor's kernels in place of those that it was fitted to."""
    predicted = Predictions(SamplingConfig(kind="all"), predictor, targets, generator).of_all(())
    heads = {head: replace(target, kernels=predicted[head]) for head, target in targets.heads.items()}
    return replace(targets, heads=heads)


def _renew(predictor: Predictor, generator: torch.Generator) -> None:
    """Reset the predictor to fresh random parameters."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        predictor.load_state_dict(Predictor(predictor.config, predictor.layers).state_dict())
