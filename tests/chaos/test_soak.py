"""The soak test: jobs arrive at a steady rate while something breaks every few seconds."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.checker import judge
from tests.chaos.experiment import TINY, Experiment
from tests.chaos.proxy import Direction

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(6 * 3600)]
SECONDS_BETWEEN_JOBS = 5
SECONDS_BETWEEN_FAULTS = 15
MOST_GROWTH_BYTES = 24 * 2**20
MOST_NEW_FILES = 8


@dataclass(frozen=True)
class Footprint:
    """Resources of a process at one moment."""

    resident_bytes: int
    open_files: int


def footprint(pid: int) -> Footprint:
    """Return the current resources of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Footprint(pages * 4096, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def test_a_service_under_constant_faults_keeps_its_promises_and_does_not_grow(
    experiment: Experiment, scale: int
) -> None:
    """E18: a job every 5 s, and every 15 s a killed runner, Redis or PostgreSQL, or answers that get lost."""
    pids = [experiment.start_api().pid, *(experiment.start_worker().pid for _ in range(2))]
    footprints: list[list[Footprint]] = []
    started = time.monotonic()
    end = started + 120 * scale
    fault = started + SECONDS_BETWEEN_FAULTS
    with ThreadPoolExecutor(16) as clients:
        while time.monotonic() < end:
            clients.submit(experiment.try_to_submit, TINY)
            if time.monotonic() > fault:
                experiment.random.choice(FAULTS)(experiment)
                fault = time.monotonic() + SECONDS_BETWEEN_FAULTS
            time.sleep(SECONDS_BETWEEN_JOBS)
            footprints.append([footprint(pid) for pid in pids])
    verdict = judge(experiment, 300)
    assert verdict.violations == []
    assert verdict.outcomes == {"succeeded": verdict.jobs}
    assert verdict.jobs >= (end - started) / SECONDS_BETWEEN_JOBS / 2
    for series in zip(*footprints, strict=True):
        assert growth([found.resident_bytes for found in series]) < MOST_GROWTH_BYTES
        assert growth([found.open_files for found in series]) < MOST_NEW_FILES


def growth(series: list[int]) -> float:
    """Return the growth from the second quarter to the last; in the first quarter, modules are still being loaded."""
    quarter = len(series) // 4
    return statistics.median(series[-quarter:]) - statistics.median(series[quarter : 2 * quarter])


def kill_a_runner(experiment: Experiment) -> None:
    for run in experiment.witness.living()[:1]:
        experiment.kill(run.pid, "runner")


def kill_redis(experiment: Experiment) -> None:
    experiment.backends.redis.kill()
    experiment.faults["kill -9 Redis"] += 1
    experiment.backends.redis.start()


def crash_postgres(experiment: Experiment) -> None:
    experiment.backends.postgres.crash()
    experiment.faults["PostgreSQL stopped at once"] += 1
    experiment.backends.postgres.start()


def lose_answers(experiment: Experiment) -> None:
    experiment.backends.to_postgres.swallow(Direction.TO_CLIENT)
    experiment.faults["answers of PostgreSQL lost"] += 1
    time.sleep(1)
    experiment.backends.to_postgres.heal()


FAULTS: list[Callable[[Experiment], None]] = [kill_a_runner, kill_redis, crash_postgres, lose_answers]
