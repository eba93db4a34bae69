from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy.orm import sessionmaker

from app.db.engine import create_engine
from app.db.schema import migrate
from app.db.transactions import Sessions
from app.jobs.events.repository import QueueHistory
from app.jobs.models import Job, JobStatus
from app.jobs.repository import JobRepository, NewJob
from app.jobs.transitions import Claim
from app.settings import Settings

pytestmark = pytest.mark.both_modes

TENANT = "acme"
LEASE = timedelta(seconds=30)
METRICS = {"ratio": 2.0}
ARTIFACTS = {"encoding.nern": {"bytes": 1, "sha256": "a" * 64}}


@pytest.fixture
def sessions(settings: Settings) -> Iterator[Sessions]:
    migrate(settings)
    engine = create_engine(settings)
    yield sessionmaker(engine, expire_on_commit=False)
    engine.dispose()


class Database:
    """Calls each repository method in a separate transaction."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            with self.sessions.begin() as session:
                return getattr(JobRepository(session), name)(*arguments, **named)

        return call

    def submit(self, job_id: str = "job_1", device: str = "cpu") -> str:
        self.add(
            NewJob(id=job_id, tenant=TENANT, device=device, options={}, checkpoint_sha256="c" * 64, checkpoint_bytes=5)
        )
        return job_id

    def get(self, job_id: str) -> Any:
        with self.sessions.begin() as session:
            return JobRepository(session).get(job_id, TENANT)

    def request_cancel(self, job_id: str) -> bool:
        with self.sessions.begin() as session:
            return JobRepository(session).request_cancel(job_id, TENANT)

    def running(self, job_id: str = "job_1") -> Claim:
        claim = self.claim(self.submit(job_id), LEASE)
        assert claim is not None
        return claim  # type: ignore[no-any-return]

    def expire(self, job_id: str = "job_1") -> None:
        with self.sessions.begin() as session:
            job = session.get(Job, job_id)
            assert job is not None
            job.lease_until = job.created_at - timedelta(seconds=1)

    def status(self, job_id: str = "job_1") -> str:
        return self.get(job_id).status  # type: ignore[no-any-return]


@pytest.fixture
def database(sessions: Sessions) -> Database:
    return Database(sessions)


def test_a_new_job_is_queued_and_has_a_time(database: Database) -> None:
    job = database.get(database.submit())
    assert (job.status, job.attempt, job.started_at, job.finished_at) == (JobStatus.QUEUED, 0, None, None)
    assert abs(database.now() - job.created_at) < timedelta(seconds=5)


def test_a_claim_takes_the_job_and_counts_the_attempt(database: Database) -> None:
    claim = database.running()
    job = database.get("job_1")
    assert (claim.attempt, claim.checkpoint_sha256) == (1, "c" * 64)
    assert (job.status, job.attempt) == (JobStatus.RUNNING, 1)
    assert job.started_at is not None


def test_a_doubled_message_claims_nothing(database: Database) -> None:
    database.running()
    assert database.claim("job_1", LEASE) is None
    assert database.claim("unknown", LEASE) is None


def test_a_heartbeat_writes_progress_and_tells_the_status(database: Database) -> None:
    claim = database.running()
    assert database.heartbeat(claim, LEASE, "reconstruction", {"fraction": 0.5}) is JobStatus.RUNNING
    job = database.get("job_1")
    assert (job.phase, job.progress) == ("reconstruction", {"fraction": 0.5})
    database.request_cancel("job_1")
    assert database.heartbeat(claim, LEASE, None, None) is JobStatus.CANCELING


def test_success_publishes_once(database: Database) -> None:
    claim = database.running()
    assert database.succeed(claim, METRICS, ARTIFACTS)
    assert not database.succeed(claim, {}, {})
    job = database.get("job_1")
    assert (job.status, job.metrics, job.artifacts) == (JobStatus.SUCCEEDED, METRICS, ARTIFACTS)
    assert job.finished_at is not None


def test_failure_has_a_code_and_a_sentence(database: Database) -> None:
    claim = database.running()
    assert database.fail(claim, "no_kernels", "There is nothing.")
    job = database.get("job_1")
    assert (job.status, job.error_code, job.error_message) == (JobStatus.FAILED, "no_kernels", "There is nothing.")


def test_an_attempt_that_was_cut_off_is_tried_again_until_there_were_too_many(database: Database) -> None:
    claim = database.running()
    assert database.try_again(claim, 2, "killed", "It was killed.") == JobStatus.QUEUED
    again = database.claim("job_1", LEASE)
    assert database.try_again(claim, 2, "killed", "It was killed.") is None
    assert database.try_again(again, 2, "killed", "It was killed.") == JobStatus.FAILED
    job = database.get("job_1")
    assert (job.attempt, job.error_code, job.error_message) == (2, "killed", "It was killed.")


def test_what_has_ended_stays_as_it_is(database: Database) -> None:
    claim = database.running()
    database.fail(claim, "x", "y")
    assert not database.succeed(claim, METRICS, ARTIFACTS)
    assert not database.request_cancel("job_1")
    assert not database.release(claim)
    assert database.heartbeat(claim, LEASE, None, None) is None
    assert database.status() == JobStatus.FAILED


def test_canceling_a_queued_job_ends_it(database: Database) -> None:
    database.submit()
    assert database.request_cancel("job_1")
    assert database.status() == JobStatus.CANCELED
    assert database.claim("job_1", LEASE) is None


def test_a_running_job_is_canceled_when_its_worker_confirms(database: Database) -> None:
    claim = database.running()
    assert database.request_cancel("job_1")
    assert database.request_cancel("job_1")
    assert database.status() == JobStatus.CANCELING
    assert not database.succeed(claim, METRICS, ARTIFACTS)
    assert not database.fail(claim, "x", "y")
    assert database.confirm_cancel(claim)
    assert database.status() == JobStatus.CANCELED


def test_a_job_whose_worker_falls_silent_is_queued_again(database: Database) -> None:
    stale = database.running()
    assert database.expire_leases(3) == 0
    database.expire()
    assert database.expire_leases(3) == 1
    assert database.status() == JobStatus.QUEUED
    assert [waiting.job_id for waiting in database.to_announce(10)] == ["job_1"]
    fresh = database.claim("job_1", LEASE)
    assert fresh.attempt == 2
    assert not database.succeed(stale, METRICS, ARTIFACTS)
    assert database.heartbeat(stale, LEASE, None, None) is None
    assert database.succeed(fresh, METRICS, ARTIFACTS)


def test_after_the_last_attempt_a_lost_job_has_failed(database: Database) -> None:
    database.submit()
    for _ in range(2):
        database.claim("job_1", LEASE)
        database.expire()
        database.expire_leases(2)
    job = database.get("job_1")
    assert (job.status, job.error_code) == (JobStatus.FAILED, "worker_lost")


def test_a_job_that_a_stopping_worker_gives_back_has_lost_no_attempt(database: Database) -> None:
    database.submit()
    for _ in range(5):
        assert database.release(database.claim("job_1", LEASE))
    database.claim("job_1", LEASE)
    database.expire()
    database.expire_leases(2)
    assert database.status() == JobStatus.QUEUED


def test_a_job_that_is_being_canceled_ends_with_its_lost_worker(database: Database) -> None:
    database.running()
    database.request_cancel("job_1")
    database.expire()
    database.expire_leases(3)
    assert database.status() == JobStatus.CANCELED


def test_an_announced_job_is_not_announced_again_before_its_pause_is_over(database: Database) -> None:
    database.submit()
    (waiting,) = database.to_announce(10)
    database.mark_announced([(waiting, timedelta(seconds=60))])
    assert database.to_announce(10) == []


def test_after_the_pause_it_is_announced_again(database: Database) -> None:
    database.submit()
    (waiting,) = database.to_announce(10)
    database.mark_announced([(waiting, timedelta(seconds=-1))])
    (again,) = database.to_announce(10)
    assert again.announcements == 1


def test_a_job_that_came_back_while_it_was_announced_is_due_again(database: Database) -> None:
    database.submit()
    (waiting,) = database.to_announce(10)
    database.release(database.claim("job_1", LEASE))
    database.mark_announced([(waiting, timedelta(seconds=60))])
    assert [found.job_id for found in database.to_announce(10)] == ["job_1"]


def test_jobs_that_run_are_not_announced(database: Database) -> None:
    database.running()
    assert database.to_announce(10) == []


def test_pages_go_from_new_to_old(database: Database) -> None:
    for name in ("job_1", "job_2", "job_3"):
        database.submit(name)
    database.claim("job_2", LEASE)
    assert [job.id for job in database.page(TENANT, limit=2)] == ["job_3", "job_2"]
    assert [job.id for job in database.page(TENANT, before="job_2", limit=2)] == ["job_1"]
    queued = database.page(TENANT, status=[JobStatus.QUEUED], limit=9)
    assert [job.id for job in queued] == ["job_3", "job_1"]


def test_the_jobs_of_another_tenant_are_neither_listed_nor_found_nor_canceled(
    sessions: Sessions, database: Database
) -> None:
    database.submit()
    with sessions.begin() as session:
        repository = JobRepository(session)
        assert repository.page("another", limit=9) == []
        assert repository.get("job_1", "another") is None
        assert not repository.request_cancel("job_1", "another")
    assert database.status() == JobStatus.QUEUED


def test_of_workers_that_claim_at_the_same_time_one_gets_the_job(database: Database) -> None:
    database.submit()
    start = Barrier(4)

    def claim(_: int) -> Claim | None:
        start.wait()
        return database.claim("job_1", LEASE)  # type: ignore[no-any-return]

    with ThreadPoolExecutor(4) as workers:
        claims = [found for found in workers.map(claim, range(4)) if found is not None]
    assert [found.attempt for found in claims] == [1]


def test_a_job_that_is_given_back_while_it_is_being_canceled_is_canceled(
    database: Database, sessions: Sessions
) -> None:
    claim = database.running()
    with ThreadPoolExecutor(1) as other:
        with sessions.begin() as session:
            assert JobRepository(session).release(claim)
            canceling = other.submit(database.request_cancel, "job_1")
            # The other transaction has to wait for this one.
            with pytest.raises(TimeoutError):
                canceling.result(0.5)
        assert canceling.result(10)
    assert database.status() == JobStatus.CANCELED


def test_a_claim_knows_which_request_has_made_the_job_and_since_when_it_is_queued(database: Database) -> None:
    database.add(
        NewJob(
            id="job_1",
            tenant=TENANT,
            device="cpu",
            options={},
            checkpoint_sha256="c" * 64,
            checkpoint_bytes=5,
            traceparent="00-trace-request-01",
        )
    )
    first = database.claim("job_1", LEASE)
    assert first.history == QueueHistory("00-trace-request-01", database.get("job_1").created_at)
    database.release(first)
    second = database.claim("job_1", LEASE)
    assert second.history.traceparent == "00-trace-request-01"
    assert second.history.queued_at > first.history.queued_at
