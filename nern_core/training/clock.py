"""The clock of a training phase: its progress, in steps or in seconds."""

import time
from dataclasses import dataclass

from nern_core.training.snapshots import State


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of a phase: a number of steps, or seconds of wall time. Exactly one is given."""

    steps: int | None = None
    seconds: float | None = None

    def after(self, seconds: float) -> "Budget":
        """Return the rest of the budget after `seconds` were used for something that takes no steps."""
        return self if self.seconds is None else Budget(seconds=max(0.0, self.seconds - seconds))

    def part(self, share: "Share") -> "Budget":
        """Return a phase's part of this budget; at least one step."""
        if self.steps is not None:
            return Budget(steps=max(1, round(self.steps * share.steps)))
        assert self.seconds is not None
        return Budget(seconds=self.seconds * share.seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A phase's share, 0 to 1, of a budget in seconds and of one in steps: steps of some phases take longer."""

    seconds: float
    steps: float


class Clock:
    """Counts the steps of one phase against its budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._started = time.perf_counter()
        self.step = 0

    def state(self) -> State:
        """Return the steps and seconds so far."""
        return {"step": self.step, "elapsed": self.elapsed}

    def restore(self, state: State) -> None:
        """Continue counting from a state."""
        self.step = state["step"]
        self._started = time.perf_counter() - state["elapsed"]

    def tick(self) -> None:
        """Count one finished step."""
        self.step += 1

    @property
    def elapsed(self) -> float:
        """Return the seconds since the start of the phase."""
        return time.perf_counter() - self._started

    @property
    def fraction(self) -> float:
        """Return the used fraction of the budget, 0 to 1."""
        if self._budget.steps is not None:
            return min(1.0, self.step / self._budget.steps)
        assert self._budget.seconds is not None
        # Preparation may have used up the budget before the first step.
        return min(1.0, self.elapsed / self._budget.seconds) if self._budget.seconds else 1.0

    @property
    def finished(self) -> bool:
        """Return True if the budget is used up. A phase has at least one step."""
        return self.step > 0 and self.fraction >= 1.0

    @property
    def total_steps(self) -> int | None:
        """Return the steps of the phase: given, or estimated from the speed so far."""
        if self._budget.steps is not None:
            return self._budget.steps
        return round(self.step / self.fraction) if self.step and self.fraction > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Estimate the seconds to the end of the phase."""
        if self._budget.seconds is not None:
            return max(0.0, self._budget.seconds - self.elapsed)
        return self.elapsed * (1 / self.fraction - 1) if self.step else None
