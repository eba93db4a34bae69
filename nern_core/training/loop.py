"""The training loop that all phases share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nern_core.errors import NernError
from nern_core.snapshots import Resumable, Snapshots
from nern_core.training.clock import Clock

_SECONDS_BETWEEN_REPORTS = 0.25


@dataclass(frozen=True, slots=True)
class StepReport:
    """Where a phase stands after a step, with its loss."""

    clock: Clock
    loss: float


class Loss(Resumable, Protocol):
    """What is to become small."""

    def __call__(self, fraction: float) -> Tensor:
        """Scalar loss of a new batch at this fraction of the phase."""


class Steps(Resumable, Protocol):
    """What changes the parameters after a gradient. Its state holds the parameters too."""

    def step(self, fraction: float) -> None:
        """Step with the learning rates of this fraction of the schedule, then clear the gradients."""


def train(
    loss: Loss,
    optimizers: Steps,
    clock: Clock,
    window: tuple[float, float],
    on_step: Callable[[StepReport], None],
    snapshots: Snapshots,
) -> None:
    """Step until the clock is finished, from the start or from where the `snapshots` say that it was.

    `window` is the start and length of the phase on the optimizers' schedule, (0, 1) for all of it.
    Reports a few times per second and at the end. Raises `NernError` (`diverged`) when a reported loss
    is not finite, and `Interrupted` when the snapshots say so.
    """
    stage = snapshots.stage({"loss": loss, "optimizers": optimizers, "clock": clock})
    reported = float("-inf")
    while not clock.finished:
        value = loss(clock.fraction)
        value.backward()
        optimizers.step(window[0] + window[1] * clock.fraction)
        clock.tick()
        if clock.finished or clock.elapsed - reported >= _SECONDS_BETWEEN_REPORTS:  # type: ignore[redundant-expr] # tick() changes it
            reported = clock.elapsed
            number = value.item()
            if not torch.isfinite(value):
                raise NernError(
                    "diverged", f"Training diverged after {clock.step} steps; try another seed or another recipe."
                )
            on_step(StepReport(clock, number))
        stage.step_done()
    stage.save()
