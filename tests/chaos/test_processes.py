"""Experiments on the service's own processes: killed, frozen, restarted, canceled."""

import os
import signal
import time
from functools import partial

import pytest
from sqlalchemy import text

from tests.chaos.checker import judge
from tests.chaos.experiment import FOREVER, STEPS, TINY, Experiment
from tests.processes import is_running, wait_for

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(900)]


def has_gone(pid: int) -> bool:
    """Return true if the process has ended."""
    return not is_running(pid)


def test_a_job_whose_runner_is_killed_is_tried_again(experiment: Experiment, scale: int) -> None:
    """E1: the runner is killed at a random moment; the result is that of an undisturbed one."""
    experiment.start_api()
    experiment.start_worker()
    job_ids = []
    for _ in range(2 * scale):
        job_ids.append(experiment.submit(STEPS))
        runner = experiment.runner_of(job_ids[-1])
        time.sleep(experiment.random.uniform(0, 4))
        if is_running(runner.pid):
            experiment.kill(runner.pid, "runner")
    verdict = judge(experiment, 240)
    assert verdict.violations == []
    assert verdict.outcomes == {"succeeded": verdict.jobs}
    assert verdict.attempts == verdict.jobs + experiment.faults["kill -9 runner"]
    assert experiment.bytes_of(job_ids[0]) == experiment.bytes_of(experiment.undisturbed_twin(job_ids[0]))


def test_a_killed_worker_takes_its_runner_along_and_the_next_one_goes_on(experiment: Experiment, scale: int) -> None:
    """E2: a worker is killed in the middle of a job; the result is that of an undisturbed one."""
    experiment.start_api()
    job_id = experiment.submit(STEPS)
    for _ in range(scale):
        worker = experiment.start_worker()
        runner = experiment.runner_of(job_id)
        experiment.training(job_id)
        experiment.kill(worker.pid, "worker")
        wait_for(partial(has_gone, runner.pid), 3, "the runner outlived its worker")
    experiment.start_worker()
    verdict = judge(experiment)
    assert verdict.violations == []
    job = experiment.get(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", scale + 1)
    # With snapshots, an attempt resumes from the previous one; equal bytes show that nothing was lost.
    assert experiment.bytes_of(job_id) == experiment.bytes_of(experiment.undisturbed_twin(job_id))


def test_a_worker_that_was_frozen_for_longer_than_its_lease_changes_nothing_any_more(experiment: Experiment) -> None:
    """E4: worker and runner are frozen, another worker takes the job over, and they thaw."""
    experiment.start_api()
    zombie = experiment.start_worker()
    job_id = experiment.submit(STEPS)
    runner = experiment.runner_of(job_id)
    experiment.training(job_id)
    for pid in (zombie.pid, runner.pid):
        os.kill(pid, signal.SIGSTOP)
    experiment.faults["SIGSTOP worker and runner"] += 1
    experiment.start_worker()
    wait_for(lambda: experiment.get(job_id)["attempt"] == 2, what="nobody took the job over")
    for pid in (runner.pid, zombie.pid):
        os.kill(pid, signal.SIGCONT)
    wait_for(partial(has_gone, runner.pid), 10, "the runner of the zombie lives on")
    verdict = judge(experiment)
    assert verdict.violations == []
    job = experiment.get(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)


@pytest.mark.chaos
def test_restarting_everything_in_turn_costs_no_job_and_no_try(experiment: Experiment, scale: int) -> None:
    """E13: API and worker get SIGTERM every few seconds under load."""
    api, worker = experiment.start_api(), experiment.start_worker()
    for _ in range(scale):
        experiment.try_to_submit(STEPS)
        time.sleep(experiment.random.uniform(2, 6))
        worker.terminate()
        assert worker.wait(20) == 0
        worker = experiment.start_worker()
        api.terminate()
        experiment.try_to_submit(TINY)
        api.wait(20)
        api = experiment.start_api()
        experiment.faults["SIGTERM worker and API"] += 1
    verdict = judge(experiment, 240)
    assert verdict.violations == []
    assert verdict.outcomes == {"succeeded": verdict.jobs}
    with experiment.engine.connect() as connection:
        tries = connection.execute(text("SELECT DISTINCT attempt - releases FROM jobs")).scalars().all()
    assert tries == [1]


def test_a_canceled_job_stops_whenever_it_is_canceled(experiment: Experiment, scale: int) -> None:
    """E14: jobs are canceled at random moments, while they wait, run and publish."""
    experiment.start_api()
    for _ in range(2):
        experiment.start_worker()
    accepted = 0
    for number in range(4 * scale):
        job_id = experiment.submit((FOREVER, TINY)[number % 2])
        time.sleep(experiment.random.uniform(0, 6))
        if experiment.cancel(job_id):
            accepted += 1
            experiment.faults["cancel"] += 1
            wait_for(partial(experiment.is_over, job_id), 15, "the job was not canceled in time")
    verdict = judge(experiment)
    assert verdict.violations == []
    assert verdict.outcomes.get("canceled", 0) == accepted > 0
