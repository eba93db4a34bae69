"""Experiments on clocks: processes a day ahead of or behind the database and each other."""

import shutil
import subprocess
import sys
import time

import pytest

from tests.chaos.checker import judge
from tests.chaos.experiment import STEPS, TINY, Experiment
from tests.chaos.skewed_clock import SKEW_VARIABLE
from tests.processes import WORKER

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(900)]
# The monotonic clock of a machine with one more day of uptime.
UP_FOR_A_DAY_MORE = ["unshare", "--time", "--monotonic", "86400", "--fork"]


def skewed(days: int) -> list[str]:
    """Return the command that starts Python with a wrong clock."""
    return ["env", f"{SKEW_VARIABLE}={days}", sys.executable, "-m"]


def can_shift_monotonic_clock() -> bool:
    """Return true if a process can have its own monotonic clock here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UP_FOR_A_DAY_MORE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("days", [1, -1])
def test_wrong_clocks_cost_no_lease_and_no_result(experiment: Experiment, days: int) -> None:
    """E15: the API's clock is a day off, and that of a second worker a day to the other side."""
    experiment.start_api([*skewed(days), "uvicorn", "tests.chaos.skewed_api:app", "--host", "127.0.0.1", "--port"])
    experiment.start_worker()
    long = experiment.submit(STEPS)
    experiment.training(long)
    experiment.start_worker([*skewed(-days), "celery", "-A", "tests.chaos.skewed_worker", *WORKER[5:]])
    experiment.faults["clock a day off"] += 2
    for _ in range(3):
        experiment.submit(TINY)
    # Leases expire and messages are sent again in this time if any process trusts a wrong clock.
    time.sleep(experiment.settings.lease.total_seconds() + experiment.settings.announce_pause.total_seconds())
    verdict = judge(experiment, 240)
    assert verdict.violations == []
    assert (verdict.outcomes, verdict.attempts) == ({"succeeded": 4}, 4)
    assert experiment.bytes_of(long) == experiment.bytes_of(experiment.undisturbed_twin(long))


@pytest.mark.skipif(not can_shift_monotonic_clock(), reason="the kernel or the container allows no time namespaces")
def test_a_worker_may_count_its_seconds_from_any_moment(experiment: Experiment) -> None:
    """E15: the monotonic clocks of two workers are a day apart."""
    experiment.start_api()
    experiment.start_worker()
    experiment.start_worker([*UP_FOR_A_DAY_MORE, *WORKER])
    experiment.faults["monotonic clock a day off"] += 1
    for _ in range(4):
        experiment.submit(TINY)
    verdict = judge(experiment)
    assert verdict.violations == []
    assert (verdict.outcomes, verdict.attempts) == ({"succeeded": 4}, 4)
