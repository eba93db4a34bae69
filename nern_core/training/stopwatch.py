"""The seconds of an encoding by phase; their sum is the elapsed time. Torch-free."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from nern_core.contract.progress import OnProgress, Phase, Progress


class Stopwatch:
    """Assigns all elapsed time to phases, and reports when a phase begins.

    A training resumed from a snapshot also counts the seconds of its earlier attempt.
    """

    def __init__(self, on_progress: OnProgress, started: float | None = None) -> None:
        """`started` is the start of the work on the clock of `time.perf_counter`; None: now."""
        self.on_progress = on_progress
        self._phase = Phase.STARTING
        self._since = time.perf_counter() if started is None else started
        self._seconds: dict[str, float] = {}

    def begin(self, phase: Phase, *, at: float | None = None) -> None:
        """End the current phase and begin another. Reports it if `at`, the fraction of the whole, is given."""
        self._count({})
        self._phase = phase
        if at is not None:
            self.on_progress(Progress(phase=phase, fraction=at))

    @contextmanager
    def training(self, phase: Phase, *, at: float) -> Iterator[dict[Phase, float]]:
        """Begin a phase that contains others; the caller puts their seconds into the dictionary."""
        self.begin(phase, at=at)
        parts: dict[Phase, float] = {}
        yield parts
        self._count(parts)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase until now."""
        self._count({})
        return {phase: seconds for phase, seconds in self._seconds.items() if seconds > 0}

    def _count(self, parts: Mapping[Phase, float]) -> None:
        """Add the given seconds to the parts, and the rest of the time since the last call to the current phase."""
        now = time.perf_counter()
        rest = max(0.0, now - self._since - sum(parts.values()))
        self._since = now
        for phase, seconds in {**parts, self._phase: rest + parts.get(self._phase, 0.0)}.items():
            self._seconds[phase.value] = self._seconds.get(phase.value, 0.0) + seconds
