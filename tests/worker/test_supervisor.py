"""Attempts at jobs: claim, progress, cancellation, stop, deadlines, faults of the database, and publication."""

import hashlib
import signal
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from app.jobs.models import JobStatus
from app.jobs.repository import JobRepository
from app.storage import ArtifactStore, StoredArtifact
from tests.dataset_files import digits_file
from tests.worker.conftest import Jobs
from tests.worker.scripted_child import (
    METRICS,
    RESULTS,
    ScriptedChild,
    ScriptedStarter,
    end_with,
    fail,
    run_on,
    succeed,
)
from tests.worker.supervision import Clock, fast, on, run, supervisor
from worker.outcome import failed, results_not_storable

LOST = OperationalError("statement", {}, Exception("the server is gone"))
REFUSED = DataError("UPDATE jobs", {}, Exception("out of range"))


def fails_with(error: Exception, times: int, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method whose first calls raise an error."""
    left = iter(range(times))

    def unreliable(*arguments: Any) -> Any:
        if next(left, None) is not None:
            raise error
        return method(*arguments)

    return unreliable


def wait_for_row(child: ScriptedChild, condition: Callable[[], bool]) -> Generator[None, None, None]:
    """Run until the row fulfils a condition."""
    while not condition():
        yield


def test_a_job_is_run_and_its_results_are_published(jobs: Jobs) -> None:
    job = run(jobs, succeed)
    assert (job.status, job.error_message, job.attempt) == (JobStatus.SUCCEEDED, None, 1)
    assert job.artifacts is not None
    assert job.artifacts.keys() == {*RESULTS, "report.json"}
    for name, artifact in job.artifacts.items():
        content = jobs.folder.path(artifact["sha256"]).read_bytes()
        assert name == "report.json" or content == name.encode()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (artifact["sha256"], artifact["bytes"])
    assert job.metrics is not None
    assert {name: job.metrics[name] for name in METRICS} | {"seconds": {}} == METRICS | {"seconds": {}}
    assert job.metrics["seconds"].keys() == {"total", "publication"}


def test_the_seconds_of_a_job_include_the_storing_of_its_results(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()

    def slow_put(store: ArtifactStore, path: Path) -> StoredArtifact:
        clock.now += 20
        return put(store, path)

    put = type(embedded_jobs.store).put
    monkeypatch.setattr(type(embedded_jobs.store), "put", slow_put)
    monkeypatch.setattr("worker.supervisor.perf_counter", clock)
    assert (run(embedded_jobs, succeed).metrics or {})["seconds"] == {"total": 101.0, "publication": 100.0}


def test_a_child_gets_the_checkpoint_and_the_data_set_of_its_job(embedded_jobs: Jobs, tmp_path: Path) -> None:
    found: dict[str, bytes] = {}

    def look(child: ScriptedChild) -> Generator[None, None, None]:
        found["checkpoint"] = child.folder.checkpoint.read_bytes()
        found.update({path.name: path.read_bytes() for path in child.folder.datasets.iterdir()})
        yield from succeed(child)

    for name in ("weights", "images"):
        (tmp_path / name).write_bytes(name.encode())
    job_id = embedded_jobs.submit(tmp_path / "weights", tmp_path / "images", architecture="digits-cnn", dataset="mine")
    assert run(embedded_jobs, look, job_id).status == JobStatus.SUCCEEDED
    assert found == {"checkpoint": b"weights", "mine": b"images"}


def test_the_start_of_an_attempt_is_given_on_a_clock_that_cannot_be_set(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.supervisor.perf_counter", lambda: 12.5)
    specs: list[str] = []

    def look(child: ScriptedChild) -> Generator[None, None, None]:
        specs.append(child.folder.spec.read_text())
        yield from succeed(child)

    run(embedded_jobs, look)
    assert '"started":12.5}' in specs[0]


def test_a_job_whose_data_set_the_disk_has_lost_fails(embedded_jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "digits").write_bytes(digits_file())
    job_id = embedded_jobs.submit(dataset_file=tmp_path / "digits", architecture="digits-cnn", dataset="mine")
    digest = embedded_jobs.get(job_id).dataset_sha256
    assert digest is not None
    embedded_jobs.folder.path(digest).unlink()
    job = run(embedded_jobs, succeed, job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "damaged_checkpoint")
    assert job.error_message == "The store lost or damaged the uploaded file or the data set; upload it again."


@pytest.mark.parametrize("script", [succeed, fail("bad_data"), end_with(-signal.SIGKILL)])
def test_the_folder_of_an_attempt_is_removed(embedded_jobs: Jobs, script: Any) -> None:
    run(embedded_jobs, script)
    assert list(embedded_jobs.settings.scratch.iterdir()) == []


def test_a_second_message_for_a_job_does_nothing(embedded_jobs: Jobs) -> None:
    first = run(embedded_jobs, succeed)
    again = run(embedded_jobs, succeed, first.id)
    assert (again.attempt, again.finished_at) == (first.attempt, first.finished_at)
    supervisor(embedded_jobs, succeed).run("job_that_never_was")


def test_progress_is_written_while_the_child_runs(jobs: Jobs) -> None:
    job_id = jobs.submit()
    seen: list[tuple[str | None, dict[str, Any]]] = []

    def has_reached(step: int) -> Callable[[], bool]:
        return lambda: (jobs.get(job_id).progress or {}).get("step") == step

    def train(child: ScriptedChild) -> Generator[None, None, None]:
        for step in (1, 2):
            child.say(progress={"phase": "distillation", "fraction": step / 4, "step": step})
            yield from wait_for_row(child, has_reached(step))
            job = jobs.get(job_id)
            seen.append((job.phase, job.progress or {}))
        child.leave_results()

    run(jobs, train, job_id)
    assert [phase for phase, _ in seen] == ["distillation", "distillation"]
    assert [(progress["fraction"], progress["step"]) for _, progress in seen] == [(0.25, 1), (0.5, 2)]


def test_a_canceled_job_stops(jobs: Jobs) -> None:
    job_id = jobs.submit()

    def cancel(child: ScriptedChild) -> Generator[None, None, None]:
        jobs.cancel(job_id)
        yield from run_on(child)

    starter = ScriptedStarter(cancel)
    job = run(jobs, starter, job_id)
    assert (job.status, job.artifacts) == (JobStatus.CANCELED, None)
    assert [child.status for child in starter.started] == [-signal.SIGKILL]
    assert list(jobs.settings.scratch.iterdir()) == []


def test_a_job_that_is_canceled_while_its_child_fails_is_canceled(jobs: Jobs) -> None:
    job_id = jobs.submit()

    def cancel(child: ScriptedChild) -> Generator[None, None, int]:
        yield
        jobs.cancel(job_id)
        return (yield from fail("bad_data", "a\0b.")(child)) or 0

    assert run(jobs, cancel, job_id, timing=fast(between_heartbeats=60)).status == JobStatus.CANCELED


def test_a_stopping_worker_gives_its_job_back(jobs: Jobs) -> None:
    starter = ScriptedStarter(run_on)
    job = run(jobs, starter, stopping=lambda: bool(starter.started))
    assert (job.status, job.attempt, job.releases, job.progress) == (JobStatus.QUEUED, 1, 1, None)
    assert job.announce_at is not None
    (child,) = starter.started
    assert (child.is_asked_to_stop, child.status) == (True, -signal.SIGKILL)


def test_a_stopping_worker_passes_on_the_messages_that_still_arrive(embedded_jobs: Jobs) -> None:
    starter = ScriptedStarter(succeed)
    job = run(embedded_jobs, starter, stopping=lambda: True)
    assert (job.status, job.attempt, starter.started) == (JobStatus.QUEUED, 0, [])
    assert job.announce_at is not None
    assert job.announce_at > job.created_at


def test_a_supervisor_that_has_lost_its_lease_changes_nothing(embedded_jobs: Jobs) -> None:
    job_id = embedded_jobs.submit()

    def lose(child: ScriptedChild) -> Generator[None, None, None]:
        embedded_jobs.take_away(job_id)
        yield from run_on(child)

    starter = ScriptedStarter(lose)
    job = run(embedded_jobs, starter, job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 1)
    assert [child.status for child in starter.started] == [-signal.SIGKILL]


@pytest.mark.parametrize(
    "ending", [succeed, fail("bad_data"), fail("disk_full", status=74), end_with(-signal.SIGKILL), end_with(75)]
)
def test_the_outcome_of_an_attempt_that_is_no_longer_the_jobs_is_not_written(embedded_jobs: Jobs, ending: Any) -> None:
    """The heartbeat has not noticed yet that the job was lost, so the fence of the row alone protects it."""
    job_id = embedded_jobs.submit()

    def lose(child: ScriptedChild) -> Generator[None, None, int | None]:
        yield
        embedded_jobs.take_away(job_id)
        with embedded_jobs.sessions.begin() as session:
            assert JobRepository(session).claim(job_id, timedelta(minutes=1)) is not None
        return (yield from ending(child)) or 0

    job = run(embedded_jobs, lose, job_id, timing=fast(between_heartbeats=60))
    assert (job.status, job.attempt, job.artifacts, job.error_code) == (JobStatus.RUNNING, 2, None, None)


def test_a_job_whose_child_is_killed_is_queued_for_another_attempt(embedded_jobs: Jobs) -> None:
    job = run(embedded_jobs, end_with(-signal.SIGKILL))
    assert (job.status, job.attempt, job.releases) == (JobStatus.QUEUED, 1, 0)


def test_a_job_whose_child_is_killed_in_each_attempt_fails(embedded_jobs: Jobs) -> None:
    first = run(embedded_jobs, end_with(-signal.SIGKILL), max_attempts=2)
    job = run(embedded_jobs, end_with(-signal.SIGKILL), first.id, max_attempts=2)
    assert (first.status, job.status, job.error_code) == (JobStatus.QUEUED, JobStatus.FAILED, "killed")


def test_a_child_that_ends_with_an_unknown_status_fails_its_job(embedded_jobs: Jobs) -> None:
    job = run(embedded_jobs, end_with(3))
    assert (job.status, job.error_code) == (JobStatus.FAILED, "internal_error")
    assert job.error_message == "The job ended unexpectedly with status 3; see the worker's log."


def let_time_pass(clock: Clock, seconds: float) -> Any:
    """Return a script that trains forever, with a check after these seconds."""

    def script(child: ScriptedChild) -> Generator[None, None, None]:
        yield
        clock.now += seconds
        yield from run_on(child)

    return script


def test_a_job_that_runs_for_too_long_is_stopped(embedded_jobs: Jobs) -> None:
    clock = Clock()
    script = let_time_pass(clock, 3.1)
    job = run(embedded_jobs, script, timing=on(clock), job_deadline=timedelta(seconds=3))
    assert (job.status, job.error_code) == (JobStatus.FAILED, "deadline_exceeded")
    assert job.error_message == (
        "The job ran longer than the 3 seconds allowed here; encode with fewer `steps` or `seconds`."
    )


def test_a_job_that_still_runs_when_its_own_deadline_passes_is_stopped(embedded_jobs: Jobs) -> None:
    clock = Clock()
    job_id = embedded_jobs.submit(deadline=timedelta(seconds=3))
    job = run(embedded_jobs, let_time_pass(clock, 3.1), job_id, timing=on(clock))
    assert (job.status, job.error_code) == (JobStatus.FAILED, "deadline_exceeded")
    assert job.error_message == "The job was still running when its deadline passed."


def test_a_job_within_its_deadlines_runs_on(embedded_jobs: Jobs) -> None:
    clock = Clock()

    def train(child: ScriptedChild) -> Generator[None, None, None]:
        yield
        clock.now += 2.9
        yield
        yield from succeed(child)

    job_id = embedded_jobs.submit(deadline=timedelta(seconds=30))
    job = run(embedded_jobs, train, job_id, timing=on(clock), job_deadline=timedelta(seconds=3))
    assert job.status == JobStatus.SUCCEEDED


def test_the_outcome_of_a_job_is_written_when_the_database_is_back(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobRepository, "succeed", fails_with(LOST, 2, JobRepository.succeed))
    assert run(embedded_jobs, succeed).status == JobStatus.SUCCEEDED


def test_a_job_is_claimed_when_the_database_is_back(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobRepository, "claim", fails_with(LOST, 2, JobRepository.claim))
    assert run(embedded_jobs, succeed).status == JobStatus.SUCCEEDED


def test_a_claim_is_given_up_after_a_minute(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, job_id = Clock(), embedded_jobs.submit()
    monkeypatch.setattr(JobRepository, "claim", fails_with(LOST, 1000, JobRepository.claim))
    with pytest.raises(OperationalError):
        supervisor(embedded_jobs, succeed, timing=on(clock, between_database_retries=1.0)).run(job_id)
    assert clock.now == 1061.0


def test_a_claim_that_the_database_refuses_is_not_retried(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = embedded_jobs.submit()
    monkeypatch.setattr(JobRepository, "claim", fails_with(REFUSED, 1, JobRepository.claim))
    with pytest.raises(DataError):
        supervisor(embedded_jobs, succeed).run(job_id)


def test_results_that_the_database_refuses_fail_the_job(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobRepository, "succeed", fails_with(REFUSED, 1000, JobRepository.succeed))
    job = run(embedded_jobs, succeed)
    assert job.status == JobStatus.FAILED
    assert failed(job.error_code or "", job.error_message or "") == results_not_storable()
    assert job.error_message == "The results of the job could not be stored; see the worker's log."


def test_a_job_that_the_database_refuses_altogether_is_left_to_the_sweeper(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("succeed", "fail"):
        monkeypatch.setattr(JobRepository, method, fails_with(REFUSED, 1000, getattr(JobRepository, method)))
    assert run(embedded_jobs, succeed).status == JobStatus.RUNNING


def test_a_database_outage_during_the_heartbeats_costs_nothing(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = embedded_jobs.submit()
    monkeypatch.setattr(JobRepository, "heartbeat", fails_with(LOST, 3, JobRepository.heartbeat))

    def train(child: ScriptedChild) -> Generator[None, None, None]:
        child.say(progress={"phase": "distillation", "step": 7})
        yield from wait_for_row(child, lambda: (embedded_jobs.get(job_id).progress or {}).get("step") == 7)
        child.leave_results()

    assert run(embedded_jobs, train, job_id).status == JobStatus.SUCCEEDED
