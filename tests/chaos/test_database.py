"""Experiments on the database: crashes, lost answers, and killed processes that share it."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chaos.checker import judge
from tests.chaos.experiment import STEPS, TINY, Experiment, unreliable
from tests.chaos.proxy import Direction
from tests.processes import wait_for

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.chaos
def test_jobs_outlive_crashes_of_the_database(experiment: Experiment, scale: int) -> None:
    """E8: PostgreSQL crashes at random moments, or its answers get lost, while jobs are submitted and run."""
    experiment.start_api()
    for _ in range(2):
        experiment.start_worker()
    for number in range(3 * scale):
        with ThreadPoolExecutor() as client:
            client.submit(experiment.try_to_submit, (STEPS, TINY)[number % 2])
            time.sleep(experiment.random.uniform(0, 4))
            if number % 3 == 2:
                experiment.backends.to_postgres.swallow(Direction.TO_CLIENT)
                time.sleep(1)
                experiment.backends.to_postgres.heal()
                experiment.faults["answers of PostgreSQL lost"] += 1
            else:
                experiment.backends.postgres.crash()
                time.sleep(experiment.random.uniform(0, 2))
                experiment.backends.postgres.start()
                experiment.faults["PostgreSQL stopped at once"] += 1
    wait_for(lambda: experiment.try_to_submit(TINY), what="the service does not accept jobs any more")
    verdict = judge(experiment, 240)
    assert verdict.violations == []
    assert verdict.outcomes == {"succeeded": verdict.jobs}


def test_jobs_outlive_commits_that_are_applied_but_reported_as_failed(experiment: Experiment, scale: int) -> None:
    """E9: one commit in five is applied, and answered with a lost connection."""
    api, worker = unreliable(0.2)
    experiment.start_api(api)
    for _ in range(2):
        experiment.start_worker(worker)
    for _ in range(4 * scale):
        experiment.try_to_submit(TINY)
    experiment.faults["commits without an answer, in percent"] = 20
    wait_for(lambda: experiment.try_to_submit(TINY), what="no submission is answered")
    verdict = judge(experiment, 240)
    assert verdict.violations == []
    assert verdict.outcomes == {"succeeded": verdict.jobs}


def test_processes_that_share_an_sqlite_file_may_be_killed(embedded_experiment: Experiment, scale: int) -> None:
    """E16: the embedded mode with two workers and four clients; worker, runner or API are killed at random."""
    experiment = embedded_experiment
    api, workers = experiment.start_api(), [experiment.start_worker() for _ in range(2)]
    deadline = time.monotonic() + 12 * scale

    def ask() -> None:
        while time.monotonic() < deadline:
            experiment.try_to_submit(TINY)
            time.sleep(experiment.random.uniform(4, 10))

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask) for _ in range(4)]
        while time.monotonic() < deadline:
            time.sleep(experiment.random.uniform(2, 6))
            choice = experiment.random.randrange(3)
            if choice == 0:
                experiment.kill(api.pid, "API")
                api.wait()
                api = experiment.start_api()
            elif choice == 1:
                experiment.kill(workers[0].pid, "worker")
                workers = [workers[1], experiment.start_worker()]
            else:
                for run in experiment.witness.living()[:1]:
                    experiment.kill(run.pid, "runner")
        for client in asking:
            client.result()
    verdict = judge(experiment, 240)
    assert verdict.violations == []
    with experiment.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
    assert "database is locked" not in experiment.log("api") + experiment.log("worker")
    answers = experiment.history.read("submit", "unknown")
    assert [line for line in answers if "status" in line] == []
