"""Experiments on the broker: down, empty, not answering, repeating messages."""

import time

import pytest

from app.jobs.broker import announce, create_celery
from tests.chaos.checker import judge
from tests.chaos.experiment import STEPS, TINY, Experiment
from tests.chaos.proxy import Direction
from tests.processes import wait_for

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.chaos
def test_jobs_outlive_a_broker_that_comes_back_empty(experiment: Experiment, scale: int) -> None:
    """E5: Redis is killed while jobs wait and run, and comes back empty."""
    experiment.start_api()
    for _ in range(2):
        experiment.start_worker()
    for _ in range(2):
        experiment.training(experiment.submit(STEPS))
    waiting = [experiment.submit(TINY) for _ in range(2 * scale)]
    experiment.backends.redis.kill()
    experiment.faults["kill -9 Redis"] += 1
    waiting.append(experiment.submit(TINY))
    assert len(waiting) == 2 * scale + 1
    experiment.backends.redis.start()
    verdict = judge(experiment, 240)
    assert verdict.violations == []
    assert verdict.outcomes == {"succeeded": len(waiting) + 2}


@pytest.mark.chaos
def test_jobs_are_accepted_in_time_while_the_broker_is_deaf(experiment: Experiment, scale: int) -> None:
    """E6: Redis swallows everything while jobs are submitted."""
    experiment.start_api()
    experiment.start_worker()
    experiment.submit(TINY)
    experiment.backends.to_redis.swallow(Direction.BOTH)
    experiment.faults["black hole before Redis"] += 1
    deadline = time.monotonic() + 8 * scale
    while time.monotonic() < deadline:
        experiment.submit(TINY)
        time.sleep(4)
    experiment.backends.to_redis.heal()
    verdict = judge(experiment, 240)
    assert verdict.violations == []
    assert verdict.outcomes == {"succeeded": verdict.jobs}
    assert max(line["seconds"] for line in experiment.history.read("submit", "ok")) < 1


def test_a_message_that_arrives_ten_times_runs_its_job_once(experiment: Experiment, scale: int) -> None:
    """E7: every message is delivered ten more times, in any order."""
    experiment.start_api()
    job_ids = [experiment.submit(TINY) for _ in range(3 * scale)]
    copies = job_ids * 10
    experiment.random.shuffle(copies)
    celery = create_celery(experiment.settings)
    for job_id in copies:
        announce(celery, job_id, "cpu")
        experiment.faults["doubled message"] += 1
    celery.close()
    for _ in range(2):
        experiment.start_worker()
    wait_for(experiment.witness.living, what="no job runs")
    verdict = judge(experiment)
    assert verdict.violations == []
    assert (verdict.outcomes, verdict.attempts) == ({"succeeded": len(job_ids)}, len(job_ids))
