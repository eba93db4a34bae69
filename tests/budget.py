"""A pytest plugin: a test that is not marked `slow` fails if it takes too long, so that `make test` stays quick.

Only the test itself counts, without its fixtures, which others may share. Its time is the larger of two figures:

- the CPU time of its process and of the processes that it started and waited for;
- the time that passed, without those moments in which any process of the machine waited for a CPU. Otherwise a test
  would take longer beside other work.

The limit is `SECONDS` on a machine as fast as that on which `CALIBRATION` was measured, and longer on a slower one. The
durations of all tests, fixtures included, are kept in `.pytest_cache/v/nern/seconds`, the longest first.
"""

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

# Three times what a test should take without the mark `slow`, so that none fails by chance.
SECONDS = 45.0
# The CPU seconds of `calibrate` on one of two cores of an ordinary server.
CALIBRATION = 0.055
_PRESSURE = Path("/proc/pressure/cpu")


@dataclass(frozen=True, slots=True)
class Moment:
    """Clocks at one moment, or their differences between two."""

    cpu: float
    wall: float
    # Time in which some process of the machine waited for a CPU; 0 if the kernel does not count it.
    contended: float

    @classmethod
    def now(cls) -> Self:
        """Read the clocks."""
        return cls(sum(os.times()[:4]), time.monotonic(), _contended())

    def since(self, earlier: "Moment") -> "Moment":
        """Return the differences from an earlier moment."""
        return Moment(self.cpu - earlier.cpu, self.wall - earlier.wall, self.contended - earlier.contended)

    @property
    def spent(self) -> float:
        """The seconds that count."""
        return max(self.cpu, self.wall - self.contended)


def _contended() -> float:
    try:
        first, *_ = _PRESSURE.read_text().splitlines()
    except OSError:
        return 0.0
    return int(first.rpartition("total=")[2]) / 1e6


def calibrate() -> float:
    """Return the CPU seconds of a fixed amount of work, the median of five measurements."""

    def once() -> float:
        start = time.process_time()
        sum(number * number % 7 for number in range(500_000))
        return time.process_time() - start

    return statistics.median(once() for _ in range(5))


def slowness() -> float:
    """Return how many times slower than the reference this machine is at the moment, at least 1."""
    return max(1.0, calibrate() / CALIBRATION)


class Budget:
    """The plugin. Every process of pytest-xdist measures its own tests; the first one keeps the durations of all."""

    def __init__(
        self,
        seconds: float = SECONDS,
        now: Callable[[], Moment] = Moment.now,
        slowness: Callable[[], float] = slowness,
    ) -> None:
        self._seconds = seconds
        self._now = now
        self._slowness = slowness
        self._durations: dict[str, float] = defaultdict(float)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        """Fail a test that succeeds too late."""
        start = self._now()
        yield
        spent = self._now().since(start).spent
        if spent <= self._seconds or item.get_closest_marker("slow") is not None:
            return
        # Measured only now, because the load of the machine changes.
        limit = self._seconds * self._slowness()
        if spent > limit:
            pytest.fail(
                f"took {spent:.1f} s; a test may take {limit:.1f} s on this machine: make it quicker, "
                "or mark it 'slow'",
                pytrace=False,
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the duration of a fixture or a test."""
        self._durations[report.nodeid] += report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Keep the durations, and those of earlier runs of other tests."""
        if hasattr(session.config, "workerinput") or getattr(session.config, "cache", None) is None:
            return
        known = session.config.cache.get("nern/seconds", {}) | {
            name: round(seconds, 2) for name, seconds in self._durations.items()
        }
        session.config.cache.set("nern/seconds", dict(sorted(known.items(), key=lambda item: -item[1])))
