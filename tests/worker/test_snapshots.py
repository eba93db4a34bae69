"""Snapshots of a runner: kept while it runs, handed to the next attempt, and removed with the job."""

import signal
import time
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, BinaryIO

import pytest

from app.jobs.models import JobStatus
from app.jobs.repository import JobRepository
from app.jobs.snapshots.store import SnapshotFolder
from app.jobs.transitions import Claim
from app.storage import StoredArtifact
from tests.worker.conftest import Jobs
from tests.worker.scripted_child import Script, ScriptedChild, run_on
from tests.worker.supervision import Clock, on, run


class Resumed:
    """A script that notes the snapshots in its folder and leaves results."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}

    def __call__(self, child: ScriptedChild) -> Generator[None, None, None]:
        self.found = {path.name: path.read_bytes() for path in child.folder.snapshots.iterdir()}
        yield
        child.leave_results()


def saving(then: Script, wait_until: Callable[[], bool] = lambda: True) -> Script:
    """Return a script that saves a snapshot, waits for the supervisor, and goes on with another script."""

    def script(child: ScriptedChild) -> Generator[None, None, int | None]:
        child.save_snapshot("stage-0", b"state")
        yield
        while not wait_until():
            yield
        return (yield from then(child))

    return script


def kept(jobs: Jobs, job_id: str) -> Callable[[], bool]:
    return lambda: bool(jobs.get(job_id).snapshots)


def killed(child: ScriptedChild) -> Generator[None, None, int]:
    yield
    return -signal.SIGKILL


def test_a_job_whose_runner_is_killed_resumes_from_its_last_snapshot(embedded_jobs: Jobs) -> None:
    resumed = Resumed()
    job = run(embedded_jobs, saving(killed))
    assert (job.status, job.attempt, job.releases) == (JobStatus.QUEUED, 1, 0)
    assert run(embedded_jobs, resumed, job.id).status == JobStatus.SUCCEEDED
    assert resumed.found == {"stage-0": b"state"}


def test_a_job_resumes_from_the_snapshot_that_a_stopping_worker_let_its_runner_save(embedded_jobs: Jobs) -> None:
    stops: list[bool] = []

    def save_when_asked(child: ScriptedChild) -> Generator[None, None, int]:
        child.say(progress={"phase": "reconstruction"})
        stops.append(True)
        while not child.is_asked_to_stop:
            yield
        child.save_snapshot("stage-0", b"saved at the stop")
        return 75

    resumed = Resumed()
    job = run(embedded_jobs, save_when_asked, stopping=lambda: bool(stops))
    assert (job.status, job.attempt, job.releases) == (JobStatus.QUEUED, 1, 1)
    assert run(embedded_jobs, resumed, job.id).attempt == 2
    assert resumed.found == {"stage-0": b"saved at the stop"}


def lose_worker(jobs: Jobs) -> str:
    """Run a job whose worker loses it after a snapshot was kept; return its id."""
    job_id = jobs.submit()

    def lose(child: ScriptedChild) -> Generator[None, None, None]:
        jobs.take_away(job_id)
        yield from run_on(child)

    assert run(jobs, saving(lose, kept(jobs, job_id)), job_id).status == JobStatus.QUEUED
    return job_id


def test_a_job_resumes_from_the_last_snapshot_of_a_lost_worker(jobs: Jobs) -> None:
    resumed = Resumed()
    job = run(jobs, resumed, lose_worker(jobs))
    assert resumed.found == {"stage-0": b"state"}
    assert (job.status, job.snapshots) == (JobStatus.SUCCEEDED, None)
    assert SnapshotFolder(jobs.settings.snapshots).jobs() == []


def test_a_damaged_snapshot_is_not_used(embedded_jobs: Jobs) -> None:
    job_id = lose_worker(embedded_jobs)
    for path in embedded_jobs.settings.snapshots.rglob("stage-*"):
        path.write_bytes(b"damaged")
    resumed = Resumed()
    assert run(embedded_jobs, resumed, job_id).status == JobStatus.SUCCEEDED
    assert resumed.found == {}


def test_snapshots_beyond_the_limit_are_not_kept(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def look(self: JobRepository, claim: Claim, snapshots: Any) -> bool:
        counts.append(len(snapshots))
        return True

    def save_four(child: ScriptedChild) -> Generator[None, None, None]:
        for number in range(4):
            child.save_snapshot(f"stage-{number}", bytes(2_000_000))
            yield
        child.leave_results()

    monkeypatch.setattr(JobRepository, "keep_snapshots", look)
    # A job with the example may keep 4.7 MB.
    run(embedded_jobs, save_four, limits={"file_bytes": 2**20})
    assert counts == [1, 2]


def test_a_snapshot_that_is_announced_over_and_over_is_copied_once_per_half_interval(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    copied: list[float] = []
    keep = SnapshotFolder.keep

    def look(self: SnapshotFolder, job_id: str, name: str, source: BinaryIO) -> StoredArtifact:
        copied.append(clock.now)
        return keep(self, job_id, name, source)

    def announce(child: ScriptedChild) -> Generator[None, None, None]:
        while True:
            child.save_snapshot("stage-0", b"state")
            yield
            clock.now += 50

    monkeypatch.setattr(SnapshotFolder, "keep", look)
    limits = {"seconds": 900.0}
    settings: dict[str, Any] = {"snapshot_interval": timedelta(minutes=10), "lease": timedelta(days=1)}
    job = run(embedded_jobs, announce, timing=on(clock), limits=limits, **settings)
    assert (job.status, copied) == (JobStatus.FAILED, [1000.0, 1300.0, 1600.0, 1900.0])


@pytest.mark.parametrize(
    ("interrupt", "limits", "status"),
    [
        (Jobs.cancel, {}, JobStatus.CANCELED),
        (Jobs.take_away, {}, JobStatus.QUEUED),
        (lambda jobs, job_id: None, {"seconds": 0.1}, JobStatus.FAILED),
    ],
    ids=["canceled", "lost", "over its deadline"],
)
def test_the_copy_of_a_snapshot_ends_when_its_job_does(
    embedded_jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
    interrupt: Callable[[Jobs, str], None],
    limits: dict[str, Any],
    status: JobStatus,
) -> None:
    blocks = 0

    def keep_slowly(self: SnapshotFolder, job_id: str, name: str, source: BinaryIO) -> StoredArtifact:
        nonlocal blocks
        interrupt(embedded_jobs, job_id)
        # As long as the copy of a large file on a slow disk: 30 seconds.
        while blocks < 6000:
            blocks += 1
            source.seek(0)
            source.read()
            time.sleep(0.005)
        raise OSError("the copy was not ended")

    monkeypatch.setattr(SnapshotFolder, "keep", keep_slowly)
    job = run(embedded_jobs, saving(run_on), limits=limits)
    assert job.status == status
    assert 0 < blocks < 6000


def test_a_stopping_worker_aborts_a_copy_and_keeps_the_newer_snapshot(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    keep = SnapshotFolder.keep

    def slow_at_first(self: SnapshotFolder, job_id: str, name: str, source: BinaryIO) -> StoredArtifact:
        copied.append(name)
        if len(copied) == 1:
            while True:
                source.seek(0)
                source.read()
        return keep(self, job_id, name, source)

    def save_again(child: ScriptedChild) -> Generator[None, None, int]:
        while not child.is_asked_to_stop:
            yield
        child.save_snapshot("stage-0", b"newer")
        return 75

    monkeypatch.setattr(SnapshotFolder, "keep", slow_at_first)
    job = run(embedded_jobs, saving(save_again), stopping=lambda: bool(copied))
    resumed = Resumed()
    run(embedded_jobs, resumed, job.id)
    assert resumed.found == {"stage-0": b"newer"}


def test_the_snapshots_of_a_failed_job_are_removed(embedded_jobs: Jobs) -> None:
    job = run(embedded_jobs, saving(killed), max_attempts=1)
    assert (job.status, job.snapshots) == (JobStatus.FAILED, None)
    assert SnapshotFolder(embedded_jobs.settings.snapshots).jobs() == []
