"""Experiments on memory: runners that the kernel kills, and jobs that need more than their limit."""

import time
from functools import partial

import pytest
from pydantic import ByteSize

from tests.chaos.checker import judge
from tests.chaos.control_group import can_limit_memory, little_memory
from tests.chaos.experiment import STEPS, TINY, Experiment
from tests.processes import is_running, wait_for

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(900)]
# Less than a runner allocates in its next steps: memory that it already has is not counted.
LITTLE = 2**20
# More than twice the memory of a tiny job; the weights of the greedy job alone take more.
ENOUGH = 2**30
GREEDY = {"architecture": "digits-cnn", "hidden_size": 4096, "steps": 1000}


@pytest.mark.skipif(not can_limit_memory(), reason="the kernel or the container allows no control groups")
def test_a_job_whose_machine_runs_out_of_memory_goes_on_in_another_attempt(experiment: Experiment) -> None:
    """E12: the kernel kills a runner for its memory; the result is that of an undisturbed one."""
    experiment.start_api()
    experiment.start_worker()
    job_id = experiment.submit(STEPS)
    runner = experiment.runner_of(job_id)
    experiment.training(job_id)
    with little_memory(LITTLE) as group:
        group.take_in(runner.pid)
        experiment.faults["kernel out of memory"] += 1
        wait_for(lambda: not is_running(runner.pid), 30, "the kernel did not kill the runner")
    verdict = judge(experiment, 240)
    assert verdict.violations == []
    assert (verdict.outcomes, verdict.attempts) == ({"succeeded": 1}, 2)
    assert experiment.bytes_of(job_id) == experiment.bytes_of(experiment.undisturbed_twin(job_id))


@pytest.mark.chaos
@pytest.mark.skipif(not can_limit_memory(), reason="the kernel or the container allows no control groups")
def test_a_job_that_runs_out_of_memory_in_every_attempt_fails_and_leaves_the_others_alone(
    experiment: Experiment, scale: int
) -> None:
    """E12: the kernel kills every runner of a job, beside good jobs."""
    experiment.settings = experiment.settings.model_copy(update={"max_attempts": 3})
    experiment.start_api()
    for _ in range(2):
        experiment.start_worker()
    hopeless = experiment.submit(STEPS)
    good = [experiment.submit(TINY) for _ in range(2 * scale)]
    with little_memory(LITTLE) as group:
        for attempt in range(1, 4):
            runner = wait_for(
                partial(attempt_of, experiment, hopeless, attempt), 60, f"attempt {attempt} did not start"
            )
            time.sleep(experiment.random.uniform(0, 2))
            group.take_in(runner)
            experiment.faults["kernel out of memory"] += 1
            wait_for(lambda: not is_running(runner), 30, "the kernel did not kill the runner")  # noqa: B023 # at once
    verdict = judge(experiment, 240)
    assert verdict.violations == []
    assert verdict.outcomes == {"failed": 1, "succeeded": len(good)}
    assert experiment.get(hopeless)["error"]["code"] == "killed"


@pytest.mark.chaos
def test_a_job_that_wants_more_memory_than_it_may_have_fails_and_says_so(experiment: Experiment, scale: int) -> None:
    """E12: jobs that take more memory than allowed, beside good jobs."""
    experiment.settings = experiment.settings.model_copy(update={"job_memory": ByteSize(ENOUGH)})
    experiment.start_api()
    experiment.start_worker()
    for _ in range(scale):
        experiment.submit(GREEDY)
        experiment.submit(TINY)
        experiment.faults["job too large for the memory"] += 1
    verdict = judge(experiment, 240)
    assert verdict.violations == []
    assert verdict.outcomes == {"failed": scale, "succeeded": scale}
    assert {job["error"]["code"] for job in experiment.jobs() if job["error"]} == {"out_of_memory"}


def attempt_of(experiment: Experiment, job_id: str, attempt: int) -> int | None:
    """Wait for the process of an attempt at a job, and return its id."""
    return next((run.pid for run in experiment.witness.living(job_id) if run.attempt == attempt), None)
