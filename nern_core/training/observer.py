"""Turn the steps of training into progress reports and the loss curve."""

import time
from dataclasses import dataclass

from nern_core.contract.progress import OnProgress, Phase, Progress
from nern_core.contract.report import CurvePoint
from nern_core.training.clock import Budget
from nern_core.training.loop import StepReport
from nern_core.training.snapshots import State

# The training phases' part of the progress fraction.
TRAINING_STARTS = 0.05
TRAINING_ENDS = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStep:
    """A reported step. `start` and `share` give its stage's place in the time of all training, 0 to 1.

    `earlier_steps` counts the steps of the phase's earlier stages, `total_steps` those of all its stages, given or
    estimated, and `kernels` the kernels that the stage has predicted; None if it predicts none.
    """

    phase: Phase
    start: float
    share: float
    earlier_steps: int
    total_steps: int | None
    step: StepReport
    kernels: int | None = None


class TrainingObserver:
    """Observer of every reported step; `curve` has a point for each."""

    def __init__(self, budget: Budget, on_progress: OnProgress) -> None:
        self._budget = budget
        self._on_progress = on_progress
        self._started = time.perf_counter()
        self.curve: list[CurvePoint] = []

    def state(self) -> State:
        """Return the curve, and the seconds since its start."""
        return {
            "curve": [point.model_dump(mode="json") for point in self.curve],
            "seconds": time.perf_counter() - self._started,
        }

    def restore(self, state: State) -> None:
        """Restore the curve from a state, and continue it."""
        self.curve = [CurvePoint.model_validate(point) for point in state["curve"]]
        self._started = time.perf_counter() - state["seconds"]

    def __call__(self, report: TrainingStep) -> None:
        """Record and report one step."""
        clock, loss = report.step.clock, report.step.loss
        seconds = time.perf_counter() - self._started
        step = report.earlier_steps + clock.step
        self.curve.append(CurvePoint(phase=report.phase, step=step, seconds=round(seconds, 3), loss=loss))
        done = report.start + report.share * clock.fraction
        self._on_progress(
            Progress(
                phase=report.phase,
                step=step,
                total=report.total_steps,
                fraction=TRAINING_STARTS + (TRAINING_ENDS - TRAINING_STARTS) * done,
                loss=loss,
                steps_per_second=clock.step / clock.elapsed,
                kernels_per_second=None if report.kernels is None else report.kernels / clock.elapsed,
                seconds_left=self._seconds_left(report, seconds),
            )
        )

    def _seconds_left(self, report: TrainingStep, seconds: float) -> float | None:
        """Return the seconds left of all training phases: exact for a budget in seconds, else by this phase's pace."""
        in_phase = report.step.clock.seconds_left
        if self._budget.seconds is not None:
            return max(0.0, self._budget.seconds - seconds)
        if in_phase is None:
            return None
        in_all = report.step.clock.elapsed + in_phase
        return in_phase + in_all / report.share * max(0.0, 1 - report.start - report.share)
