"""A worker with artifacts in a bucket that is not always reachable."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.db.engine import migrate
from app.jobs.models import JobStatus
from app.settings import Settings
from app.storage import StoredArtifact
from tests.conftest import DIGITS
from tests.s3 import FaultyBucket, keys_of
from tests.worker.conftest import Jobs
from tests.worker.test_supervisor import meanwhile, wait_for
from worker import patience
from worker.folder import RunFolder
from worker.supervisor import Supervisor

SHORT: dict[str, Any] = {"steps": 1, "hidden_size": 8}
LONG: dict[str, Any] = {"architecture": "digits-cnn", "dataset": str(DIGITS), "hidden_size": 32, "steps": 250}


@pytest.fixture
def jobs(with_bucket: Settings) -> Iterator[Jobs]:
    migrate(with_bucket)
    jobs = Jobs(with_bucket)
    yield jobs
    jobs.close()


@pytest.fixture
def faulty_jobs(faulty: FaultyBucket) -> Iterator[Jobs]:
    migrate(faulty.settings)
    jobs = Jobs(faulty.settings)
    yield jobs
    jobs.close()


def supervisor(jobs: Jobs, stopping: Callable[[], bool] = lambda: False, **elsewhere: Path) -> Supervisor:
    return Supervisor(jobs.settings.model_copy(update=elsewhere), jobs.sessions, jobs.store, stopping)


def content_of(jobs: Jobs, job_id: str, name: str) -> bytes:
    artifacts = jobs.get(job_id).artifacts
    assert artifacts is not None, jobs.get(job_id).error_message
    stored = StoredArtifact.of(artifacts[name])
    return b"".join(jobs.store.read(stored, stored.whole))


def test_results_are_put_into_the_bucket(jobs: Jobs) -> None:
    job_id = jobs.submit(**SHORT)
    supervisor(jobs).run(job_id)
    job = jobs.get(job_id)
    assert (job.status, job.error_message) == (JobStatus.SUCCEEDED, None)
    reported = json.loads(content_of(jobs, job_id, "report.json"))["metrics"]
    # The seconds of the job also include the publication.
    assert reported | {"seconds": {}} == (job.metrics or {}) | {"seconds": {}}
    assert job.artifacts is not None
    digests = {artifact["sha256"] for artifact in job.artifacts.values()} | {job.checkpoint_sha256}
    assert keys_of(jobs.settings, "artifacts") == sorted(digests)


@pytest.mark.slow
def test_a_worker_on_another_machine_goes_on_from_the_snapshot_in_the_bucket(jobs: Jobs, tmp_path: Path) -> None:
    whole, stopped = jobs.submit(**LONG), jobs.submit(**LONG)
    supervisor(jobs).run(whole)
    stop = threading.Event()
    thread = meanwhile(jobs, stopped, stop.set)
    supervisor(jobs, stop.is_set).run(stopped)
    thread.join()
    assert len(keys_of(jobs.settings, f"snapshots/{stopped}")) > 0
    supervisor(jobs, artifact_dir=tmp_path / "other", scratch_dir=tmp_path / "other scratch").run(stopped)
    assert content_of(jobs, stopped, "encoding.nern") == content_of(jobs, whole, "encoding.nern")
    assert keys_of(jobs.settings, "snapshots") == []


def outage(jobs: Jobs, faulty: FaultyBucket, job_id: str, then: Callable[[], None]) -> threading.Thread:
    """Make the bucket unreachable while the runner starts; call `then` once the runner has written its results."""
    folder = RunFolder(jobs.settings.scratch / f"{job_id}-1")

    def act() -> None:
        faulty.proxy.go_down()
        wait_for(folder.report.exists)
        # The runner ends, and the supervisor retries without success.
        time.sleep(5)
        assert jobs.get(job_id).status == JobStatus.RUNNING
        then()

    return meanwhile(jobs, job_id, act, when=folder.spec.exists)


def test_results_wait_for_a_bucket_that_is_away(faulty_jobs: Jobs, faulty: FaultyBucket) -> None:
    job_id = faulty_jobs.submit(**SHORT)
    thread = outage(faulty_jobs, faulty, job_id, faulty.proxy.heal)
    supervisor(faulty_jobs).run(job_id)
    thread.join()
    job = faulty_jobs.get(job_id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
    reported = json.loads(content_of(faulty_jobs, job_id, "report.json"))["metrics"]
    # The seconds of the job also include the publication.
    assert reported | {"seconds": {}} == (job.metrics or {}) | {"seconds": {}}


def test_a_job_can_be_canceled_while_its_results_wait(faulty_jobs: Jobs, faulty: FaultyBucket) -> None:
    job_id = faulty_jobs.submit(**SHORT)
    thread = outage(faulty_jobs, faulty, job_id, lambda: faulty_jobs.cancel(job_id))
    supervisor(faulty_jobs).run(job_id)
    thread.join()
    assert faulty_jobs.get(job_id).status == JobStatus.CANCELED


def test_a_bucket_that_stays_away_is_the_reason_of_the_failure(
    faulty_jobs: Jobs, faulty: FaultyBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_SECONDS_TO_WAIT", 1.0)
    job_id = faulty_jobs.submit(**SHORT)
    faulty.proxy.go_down()
    supervisor(faulty_jobs).run(job_id)
    job = faulty_jobs.get(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "storage_unavailable")
    assert "did not answer" in (job.error_message or "")
    assert list(faulty_jobs.settings.scratch.iterdir()) == []


def test_an_attempt_waits_for_its_checkpoint(faulty_jobs: Jobs, faulty: FaultyBucket) -> None:
    job_id = faulty_jobs.submit(**SHORT)
    faulty.proxy.go_down()
    healing = threading.Timer(4, faulty.proxy.heal)
    healing.start()
    supervisor(faulty_jobs).run(job_id)
    healing.join()
    assert faulty_jobs.get(job_id).status == JobStatus.SUCCEEDED
