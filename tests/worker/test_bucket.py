"""A worker with artifacts in a bucket that is not always reachable."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.db.schema import migrate
from app.jobs.models import JobStatus
from app.settings import Settings
from app.storage import StoredArtifact
from tests.s3 import FaultyBucket, keys_of
from tests.worker.conftest import Jobs
from tests.worker.scripted_child import Script, ScriptedChild, ScriptedStarter, succeed
from tests.worker.supervision import Clock, fast, on, run


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


def content_of(jobs: Jobs, job_id: str, name: str) -> bytes:
    artifacts = jobs.get(job_id).artifacts
    assert artifacts is not None, jobs.get(job_id).error_message
    stored = StoredArtifact.of(artifacts[name])
    return b"".join(jobs.store.read(stored, stored.whole))


def test_results_are_put_into_the_bucket(jobs: Jobs) -> None:
    job = run(jobs, succeed)
    assert (job.status, job.error_message) == (JobStatus.SUCCEEDED, None)
    assert content_of(jobs, job.id, "weights.pt") == b"weights.pt"
    assert job.artifacts is not None
    digests = {artifact["sha256"] for artifact in job.artifacts.values()} | {job.checkpoint_sha256}
    assert keys_of(jobs.settings, "artifacts") == sorted(digests)


def test_a_worker_on_another_machine_resumes_from_the_snapshot_in_the_bucket(jobs: Jobs, tmp_path: Path) -> None:
    starter = ScriptedStarter(save_when_asked)
    job = run(jobs, starter, stopping=lambda: bool(starter.started))
    assert len(keys_of(jobs.settings, f"snapshots/{job.id}")) == 1
    found: list[bytes] = []

    def resume(child: ScriptedChild) -> Generator[None, None, None]:
        found.append((child.folder.snapshots / "stage-0").read_bytes())
        yield from succeed(child)

    elsewhere = {"artifact_dir": tmp_path / "other", "scratch_dir": tmp_path / "other scratch"}
    assert run(jobs, resume, job.id, **elsewhere).status == JobStatus.SUCCEEDED
    assert found == [b"state"]
    assert keys_of(jobs.settings, "snapshots") == []


def save_when_asked(child: ScriptedChild) -> Generator[None, None, int]:
    while not child.is_asked_to_stop:
        yield
    child.save_snapshot("stage-0", b"state")
    return 75


class Retries:
    """The pauses between calls to the store; after the second one, something happens."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then
        self.count = 0

    def __call__(self, seconds: float) -> None:
        self.count += 1
        if self.count == 2:
            self._then()
        time.sleep(0.05)


def go_down_then_succeed(faulty: FaultyBucket) -> Script:
    """Return a script that leaves results when the bucket has become unreachable."""

    def script(child: ScriptedChild) -> Generator[None, None, None]:
        faulty.proxy.go_down()
        yield
        child.leave_results()

    return script


def test_results_wait_for_a_bucket_that_is_away(faulty_jobs: Jobs, faulty: FaultyBucket) -> None:
    job_id = faulty_jobs.submit()
    seen: list[str] = []

    def heal() -> None:
        seen.append(faulty_jobs.get(job_id).status)
        faulty.proxy.heal()

    retries = Retries(heal)
    job = run(faulty_jobs, go_down_then_succeed(faulty), job_id, timing=fast(sleep=retries))
    assert (job.status, job.attempt, seen) == (JobStatus.SUCCEEDED, 1, [JobStatus.RUNNING])
    assert content_of(faulty_jobs, job_id, "weights.pt") == b"weights.pt"


def test_a_job_can_be_canceled_while_its_results_wait(faulty_jobs: Jobs, faulty: FaultyBucket) -> None:
    job_id = faulty_jobs.submit()
    retries = Retries(lambda: faulty_jobs.cancel(job_id))
    job = run(faulty_jobs, go_down_then_succeed(faulty), job_id, timing=fast(sleep=retries))
    assert job.status == JobStatus.CANCELED


def test_a_worker_can_stop_while_the_results_of_its_job_wait(faulty_jobs: Jobs, faulty: FaultyBucket) -> None:
    stop = threading.Event()
    timing = fast(sleep=Retries(stop.set))
    job = run(faulty_jobs, go_down_then_succeed(faulty), stopping=stop.is_set, timing=timing)
    assert (job.status, job.attempt, job.releases) == (JobStatus.QUEUED, 1, 1)


def test_a_bucket_that_stays_away_for_an_hour_is_the_reason_of_the_failure(
    faulty_jobs: Jobs, faulty: FaultyBucket
) -> None:
    clock, job_id = Clock(), faulty_jobs.submit()
    faulty.proxy.go_down()
    timing = on(clock, between_store_retries=1801.0)
    job = run(faulty_jobs, succeed, job_id, timing=timing, lease=timedelta(days=1))
    assert (job.status, job.error_code, clock.now) == (JobStatus.FAILED, "storage_unavailable", 1000.0 + 2 * 1801)
    assert "did not answer" in (job.error_message or "")
    assert list(faulty_jobs.settings.scratch.iterdir()) == []


def test_an_attempt_waits_for_its_checkpoint(faulty_jobs: Jobs, faulty: FaultyBucket) -> None:
    job_id = faulty_jobs.submit()
    faulty.proxy.go_down()
    assert run(faulty_jobs, succeed, job_id, timing=fast(sleep=Retries(faulty.proxy.heal))).status == "succeeded"
