"""The training loop of all phases."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nern_core.contract.errors import NernError
from nern_core.training.clock import Clock
from nern_core.training.gpu_graph import GraphSteps, own_stream
from nern_core.training.loss import Loss
from nern_core.training.optim import Optimizers
from nern_core.training.snapshots import Snapshots
from nern_core.training.step import take_step

_SECONDS_BETWEEN_REPORTS = 0.25


@dataclass(frozen=True, slots=True)
class StepReport:
    """The progress of a phase after a step, with its loss."""

    clock: Clock
    loss: float


def train(
    loss: Loss,
    optimizers: Optimizers,
    clock: Clock,
    window: tuple[float, float],
    on_step: Callable[[StepReport], None],
    snapshots: Snapshots,
) -> None:
    """Step until the clock is finished, from the start or from the state in the `snapshots`.

    `window` is the start and length of the phase on the optimizers' schedule, (0, 1) for all of it. Reports a few times
    per second and at the end. Raises `NernError` (`diverged`) when a reported loss is not finite, and `Interrupted`
    when the snapshots request it.
    """
    stage = snapshots.stage({"loss": loss, "optimizers": optimizers, "clock": clock})
    reported = float("-inf")
    with own_stream(loss.device):
        step = _steps(loss, optimizers)
        while not clock.finished:
            fraction = clock.fraction
            optimizers.schedule(window[0] + window[1] * fraction)
            value = step(fraction)
            clock.tick()
            if clock.finished or clock.elapsed - reported >= _SECONDS_BETWEEN_REPORTS:  # type: ignore[redundant-expr] # tick() changes it
                reported = clock.elapsed
                on_step(StepReport(clock, _finite(value, clock)))
            stage.step_done()
        stage.save()


def _steps(loss: Loss, optimizers: Optimizers) -> Callable[[float], Tensor]:
    """Return a function that takes a step at a fraction of the phase and returns the scalar loss before it."""
    if loss.device.type == "cuda":
        return GraphSteps(loss, optimizers)
    return lambda fraction: take_step(loss, optimizers, loss.draw(fraction))


def _finite(value: Tensor, clock: Clock) -> float:
    number = value.item()
    if not math.isfinite(number):
        raise NernError("diverged", f"Training diverged after {clock.step} steps; try another seed or another recipe.")
    return number
