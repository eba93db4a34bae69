"""The main experiment: a real network is encoded while every process around it is killed, one after another."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.checker import judge
from tests.chaos.experiment import Experiment
from tests.conftest import RealCheckpoints
from tests.processes import wait_for

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(1800)]


def test_a_real_encode_outlives_a_kill_of_each_process(experiment: Experiment, real: RealCheckpoints) -> None:
    """E20: runner, worker, API, Redis and PostgreSQL are killed in turn during one encode of ResNet20."""
    experiment.settings = experiment.settings.model_copy(update={"dataset_roots": (real.cifar10.parent,)})
    experiment.checkpoint = real.checkpoints / "cifar10-resnet20.th"
    api, worker = experiment.start_api(), experiment.start_worker()
    options: dict[str, Any] = {"architecture": "cifar-resnet20", "dataset": real.cifar10.name}
    options |= {"hidden_size": 160, "permutation": "cross-filter", "steps": 600}
    job_id = experiment.submit(options)

    def kill_runner() -> None:
        experiment.kill(experiment.runner_of(job_id).pid, "runner")

    def kill_worker() -> None:
        experiment.kill(worker.pid, "worker")
        experiment.start_worker()

    def kill_api() -> None:
        experiment.kill(api.pid, "API")
        experiment.start_api()

    def kill_redis() -> None:
        experiment.backends.redis.kill()
        experiment.faults["kill -9 Redis"] += 1
        experiment.backends.redis.start()

    def kill_postgres() -> None:
        experiment.backends.postgres.kill()
        experiment.faults["kill -9 PostgreSQL"] += 1
        experiment.backends.postgres.start()

    victims: list[Callable[[], None]] = [kill_runner, kill_worker, kill_api, kill_redis, kill_postgres]
    seen = 0.0
    for kill in victims:
        seen = progressed(experiment, job_id, seen)
        kill()
    verdict = judge(experiment, 900)
    assert verdict.violations == []
    assert verdict.outcomes == {"succeeded": 1}
    # Killing the runner or the worker costs an attempt; the others cost none unless the database is down for too long.
    assert verdict.attempts >= 3
    assert experiment.bytes_of(job_id) == experiment.bytes_of(ended_twin(experiment, job_id))


def progressed(experiment: Experiment, job_id: str, seen: float) -> float:
    """Wait until the job trains and its fraction exceeds `seen`; return the fraction."""

    def look() -> float | None:
        job = experiment.get(job_id)
        fraction: float = (job["progress"] or {}).get("fraction", 0.0)
        return fraction if job["status"] == "running" and fraction > max(seen + 0.03, 0.05) else None

    return wait_for(look, 600, "the job does not get on")


def ended_twin(experiment: Experiment, job_id: str) -> str:
    """Submit the same job again without faults, and wait until it ends."""
    twin = experiment.undisturbed_twin(job_id)
    wait_for(lambda: experiment.is_over(twin), 900, "the undisturbed job does not end")
    return twin
