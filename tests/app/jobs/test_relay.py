from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from queue import Empty
from types import SimpleNamespace

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy.exc import DatabaseError

from app.db.engine import create_sessions
from app.db.schema import migrate
from app.jobs.broker import create_celery
from app.jobs.models import Job, JobStatus
from app.jobs.relay import Relay, announcement_backoff
from app.jobs.repository import JobRepository, NewJob
from app.settings import Settings
from tests.conftest import transaction

pytestmark = pytest.mark.both_modes


@pytest.fixture
def relay(settings: Settings) -> Iterator[Relay]:
    migrate(settings)
    sessions = create_sessions(settings)
    celery = create_celery(settings)
    yield Relay(settings, sessions, celery)
    celery.close()
    sessions.kw["bind"].dispose()


def submit(settings: Settings, job_id: str, device: str = "cpu") -> None:
    with transaction(settings) as session:
        JobRepository(session).add(
            NewJob(id=job_id, tenant="acme", device=device, options={}, checkpoint_sha256="c" * 64, checkpoint_bytes=1)
        )


def received(settings: Settings, queue: str) -> list[str]:
    """Take all messages out of a queue; returns the job ids in them."""
    ids = []
    celery = create_celery(settings)
    with celery.connection_for_read() as connection, closing(connection.SimpleQueue(queue)) as messages:
        while True:
            try:
                message = messages.get(block=True, timeout=0.5)
            except Empty:
                break
            message.ack()
            (job_id,) = message.payload[0]
            ids.append(job_id)
    celery.close()
    return ids


def test_queued_jobs_are_announced_once_in_the_queue_of_their_device(relay: Relay, settings: Settings) -> None:
    submit(settings, "job_1")
    submit(settings, "job_2", device="gpu")
    assert relay.round() == 2
    assert relay.round() == 0
    assert received(settings, "cpu") == ["job_1"]
    assert received(settings, "gpu") == ["job_2"]


def test_a_broker_that_is_down_delays_the_announcement_only(embedded: Settings) -> None:
    migrate(embedded)
    submit(embedded, "job_1")
    unreachable = embedded.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    with pytest.raises(OperationalError):
        Relay(embedded, create_sessions(embedded), create_celery(unreachable)).round()
    assert Relay(embedded, create_sessions(embedded), create_celery(embedded)).round() == 1


def test_no_lease_runs_out_right_after_the_database_could_not_be_written_to(
    relay: Relay, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(settings, "job_1")
    lose(settings, "job_1")

    def full(*arguments: object) -> None:
        raise DatabaseError("INSERT", {}, Exception("full"))

    with monkeypatch.context() as context:
        context.setattr(JobRepository, "expire_leases", full)
        with pytest.raises(DatabaseError):
            relay.round()
    assert relay.round() == 0
    relay._no_sweep_before = 0.0
    assert relay.round() == 1


def test_a_lease_runs_out_while_the_broker_is_down(embedded: Settings) -> None:
    migrate(embedded)
    submit(embedded, "job_1")
    submit(embedded, "job_2")
    unreachable = embedded.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    relay = Relay(embedded, create_sessions(embedded), create_celery(unreachable))
    with pytest.raises(OperationalError):
        relay.round()
    lose(embedded, "job_1")
    with pytest.raises(OperationalError):
        relay.round()
    assert status(embedded, "job_1") is JobStatus.QUEUED


def test_no_lease_runs_out_right_after_the_machine_was_suspended(
    embedded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("app.jobs.relay.time", SimpleNamespace(time=lambda: now, monotonic=lambda: now))
    lease = embedded.lease.total_seconds()
    migrate(embedded)
    relay = Relay(embedded, create_sessions(embedded), create_celery(embedded))
    submit(embedded, "job_1")
    relay.round()
    lose(embedded, "job_1")
    now += 2 * lease
    relay.round()
    assert status(embedded, "job_1") is JobStatus.RUNNING
    for _ in range(4):
        now += lease / 3
        relay.round()
    assert status(embedded, "job_1") is JobStatus.QUEUED


def lose(settings: Settings, job_id: str) -> None:
    """Let a worker claim a job, and its lease expire."""
    with transaction(settings) as session:
        assert JobRepository(session).claim(job_id, -timedelta(seconds=1))


def status(settings: Settings, job_id: str) -> JobStatus:
    with transaction(settings) as session:
        return JobStatus(session.get_one(Job, job_id).status)


def test_a_message_that_no_worker_took_is_sent_again_ever_more_rarely() -> None:
    minute = timedelta(minutes=1)
    backoff = announcement_backoff(minute)
    assert [backoff.pause(count) for count in (0, 1, 2)] == [minute, 2 * minute, 4 * minute]
    assert backoff.pause(6) == backoff.pause(10_000) == timedelta(hours=1)
