"""The seconds of an encoding, phase by phase: together they are the time that passed. Torch-free."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from nern_core.progress import OnProgress, Phase, Progress


class Stopwatch:
    """Counts every second for the current phase, and reports when a phase begins.

    A training that resumes from a snapshot also has the seconds of its earlier attempt.
    """

    def __init__(self, on_progress: OnProgress, started: float | None = None) -> None:
        """`started` is when the work began, as `time.perf_counter` counts; None: now."""
        self.on_progress = on_progress
        self._phase = Phase.STARTING
        self._since = time.perf_counter() if started is None else started
        self._seconds: dict[str, float] = {}

    def begin(self, phase: Phase, *, at: float | None = None) -> None:
        """End the present phase and begin another. Tells so if `at`, the fraction of the whole, is given."""
        self._count({})
        self._phase = phase
        if at is not None:
            self.on_progress(Progress(phase=phase, fraction=at))

    @contextmanager
    def training(self, phase: Phase, *, at: float) -> Iterator[dict[Phase, float]]:
        """Begin a phase that contains others, whose seconds the caller puts into the dictionary."""
        self.begin(phase, at=at)
        parts: dict[Phase, float] = {}
        yield parts
        self._count(parts)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase until now."""
        self._count({})
        return {phase: seconds for phase, seconds in self._seconds.items() if seconds > 0}

    def _count(self, parts: Mapping[Phase, float]) -> None:
        """Add the time since the last call to the parts, and the rest of it to the current phase."""
        now = time.perf_counter()
        rest = max(0.0, now - self._since - sum(parts.values()))
        self._since = now
        for phase, seconds in {**parts, self._phase: rest + parts.get(self._phase, 0.0)}.items():
            self._seconds[phase.value] = self._seconds.get(phase.value, 0.0) + seconds
