import io
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db.engine import create_sessions
from app.db.schema import migrate
from app.db.transactions import Sessions
from app.jobs.models import IdempotencyKey, Job
from app.jobs.repository import JobRepository, NewJob
from app.jobs.snapshots.store import SnapshotFolder
from app.retention.collector import Collector
from app.retention.leases import LeaseRepository
from app.settings import Settings
from app.storage.folder import FolderStore
from app.uploads.models import Upload
from app.uploads.repository import UploadRepository
from tests.app.conftest import stored_files, submit
from tests.app.test_jobs_api import finish
from tests.conftest import transaction

DAY = timedelta(days=1)


@pytest.fixture
def sessions(settings: Settings) -> Iterator[Sessions]:
    migrate(settings)
    sessions = create_sessions(settings)
    yield sessions
    sessions.kw["bind"].dispose()


@pytest.fixture
def store(settings: Settings) -> FolderStore:
    return FolderStore(settings.artifacts)


@pytest.fixture
def collector(settings: Settings, sessions: Sessions, store: FolderStore) -> Collector:
    return Collector(settings, sessions, store)


def age(folder: Path, seconds: float = 7200) -> None:
    """Let the grace time pass for everything in a folder."""
    for path in [folder, *folder.rglob("*")]:
        changed = path.stat().st_mtime - seconds
        os.utime(path, (changed, changed))


def put(store: FolderStore, tmp_path: Path, content: bytes = b"content") -> str:
    (tmp_path / "source").write_bytes(content)
    return store.put(tmp_path / "source").sha256


def job_of(job_id: str, sha256: str) -> NewJob:
    return NewJob(id=job_id, tenant="default", device="cpu", options={}, checkpoint_sha256=sha256, checkpoint_bytes=7)


def new_job(settings: Settings, sha256: str, job_id: str = "job_" + "0" * 32) -> str:
    with transaction(settings) as session:
        return JobRepository(session).add(job_of(job_id, sha256)).id


def let_pass(settings: Settings, time: timedelta) -> None:
    """Let time pass for every row."""
    with transaction(settings) as session:
        for job in session.scalars(select(Job).where(Job.finished_at.is_not(None))):
            assert job.finished_at is not None
            job.finished_at -= time
        for upload in session.scalars(select(Upload)):
            upload.expires_at -= time
        for key in session.scalars(select(IdempotencyKey)):
            key.expires_at -= time


def test_an_old_artifact_that_nobody_needs_is_removed(
    collector: Collector, settings: Settings, store: FolderStore, tmp_path: Path
) -> None:
    put(store, tmp_path)
    age(settings.artifacts)
    assert collector.round()
    assert stored_files(settings) == []


def test_an_artifact_that_was_just_stored_or_renewed_is_kept(
    collector: Collector, settings: Settings, store: FolderStore, tmp_path: Path
) -> None:
    stored, renewed = put(store, tmp_path, b"stored"), put(store, tmp_path, b"renewed")
    age(settings.artifacts)
    put(store, tmp_path, b"stored")
    store.renew(renewed)
    collector.round()
    assert {path.name for path in stored_files(settings)} == {stored, renewed}


def test_the_checkpoint_of_a_job_and_an_upload_are_kept(
    collector: Collector, settings: Settings, store: FolderStore, tmp_path: Path
) -> None:
    checkpoint, upload = put(store, tmp_path, b"checkpoint"), put(store, tmp_path, b"upload")
    new_job(settings, checkpoint)
    with transaction(settings) as session:
        UploadRepository(session).add("default", upload, 6, DAY)
    age(settings.artifacts)
    collector.round()
    assert {path.name for path in stored_files(settings)} == {checkpoint, upload}


def test_a_file_that_two_jobs_need_goes_with_the_second(
    collector: Collector, settings: Settings, store: FolderStore, tmp_path: Path
) -> None:
    checkpoint = put(store, tmp_path)
    jobs = [new_job(settings, checkpoint, f"job_{number:032}") for number in (1, 2)]
    for job, left in zip(jobs, (1, 0), strict=True):
        with transaction(settings) as session:
            repository = JobRepository(session)
            repository.request_cancel(job, "default")
            assert repository.delete(job, "default")
        age(settings.artifacts)
        collector.round()
        assert len(stored_files(settings)) == left


def test_an_expired_upload_goes_and_the_job_that_has_named_it_keeps_the_file(
    collector: Collector, settings: Settings, store: FolderStore, tmp_path: Path
) -> None:
    named, unnamed = put(store, tmp_path, b"named"), put(store, tmp_path, b"unnamed")
    with transaction(settings) as session:
        for sha256 in (named, unnamed):
            UploadRepository(session).add("default", sha256, 7, DAY)
    new_job(settings, named)
    let_pass(settings, 2 * DAY)
    age(settings.artifacts)
    collector.round()
    assert [path.name for path in stored_files(settings)] == [named]
    with transaction(settings) as session:
        assert session.scalars(select(Upload)).all() == []


def test_a_writer_that_still_writes_keeps_its_file_and_a_dead_one_does_not(
    collector: Collector, settings: Settings, store: FolderStore
) -> None:
    (store.incoming / "left-behind").touch()
    with store.writer() as writer:
        writer.write(b"half")
        age(settings.artifacts)
        collector.round()
        assert [path.name for path in store.incoming.iterdir()] == [writer.path.name]
        writer.commit()


def test_only_folders_of_attempts_that_are_over_are_removed(
    collector: Collector, settings: Settings, store: FolderStore, tmp_path: Path
) -> None:
    job = new_job(settings, put(store, tmp_path))
    with transaction(settings) as session:
        JobRepository(session).claim(job, timedelta(days=2))
    names = [f"{job}-1", f"{job}-0", f"job_{'1' * 32}-1", "something else", "job_1-1"]
    for name in names:
        (settings.scratch / name).mkdir(parents=True)
        (settings.scratch / name / "checkpoint").touch()
    age(settings.scratch)
    (settings.scratch / f"job_{'2' * 32}-1").mkdir()
    collector.round()
    left = {path.name for path in settings.scratch.iterdir()}
    assert left == {f"{job}-1", f"job_{'2' * 32}-1", "something else", "job_1-1"}


def test_snapshots_go_with_their_job(
    collector: Collector, settings: Settings, store: FolderStore, tmp_path: Path
) -> None:
    jobs = [new_job(settings, put(store, tmp_path), f"job_{number:032}") for number in range(2)]
    snapshots = SnapshotFolder(settings.snapshots)
    for job in [*jobs, f"job_{'9' * 32}"]:
        snapshots.keep(job, "fit-0", io.BytesIO(b"state"))
    with transaction(settings) as session:
        JobRepository(session).request_cancel(jobs[0], "default")
    collector.round()
    assert snapshots.jobs() == [jobs[1]]


def test_while_one_collects_another_does_not(collector: Collector, sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert LeaseRepository(session).take("collector", "another process", timedelta(minutes=1))
    assert not collector.round()
    with sessions.begin() as session:
        LeaseRepository(session).release("collector", "another process")
    assert collector.round()
    assert collector.round()


def test_the_lease_of_a_process_that_has_died_runs_out(collector: Collector, sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert LeaseRepository(session).take("collector", "a dead process", timedelta(seconds=-1))
    assert collector.round()


def test_expired_keys_are_forgotten(client: TestClient, settings: Settings, collector: Collector) -> None:
    submit(client, headers={"Idempotency-Key": '"k"'})
    let_pass(settings, 2 * DAY)
    collector.round()
    with transaction(settings) as session:
        assert session.scalars(select(IdempotencyKey)).all() == []


def test_the_files_of_a_job_expire_a_while_after_its_end(
    client: TestClient, settings: Settings, collector: Collector, tmp_path: Path
) -> None:
    job = submit(client).json()
    assert (job["expires_at"], job["data_removed"]) == (None, False)
    finish(settings, job["id"], tmp_path)
    let_pass(settings, settings.keep_results - timedelta(minutes=1))
    age(settings.artifacts)
    collector.round()
    assert client.get(f"/jobs/{job['id']}/weights").status_code == 200
    let_pass(settings, timedelta(minutes=1))
    collector.round()
    assert stored_files(settings) == []
    view = client.get(f"/jobs/{job['id']}").json()
    assert (view["status"], view["data_removed"], view["artifacts"]) == ("succeeded", True, {})
    gone = client.get(f"/jobs/{job['id']}/weights")
    assert (gone.status_code, gone.json()["type"]) == (410, "results-expired")
