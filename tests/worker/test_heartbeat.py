import sqlite3
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.jobs.models import Job
from app.jobs.repository import JobRepository
from app.jobs.transitions import Claim
from tests.processes import wait_for
from tests.worker.conftest import Jobs
from worker.heartbeat import Heartbeat, Hold

LEASE = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("code", "longest_outage", "hold"),
    [
        (sqlite3.SQLITE_FULL, 1, Hold.HELD),
        (sqlite3.SQLITE_IOERR, 10, Hold.HELD),
        (sqlite3.SQLITE_IOERR, 1, Hold.LOST),
    ],
    ids=["full", "broken", "broken for too long"],
)
def test_a_job_is_held_beyond_its_lease_while_the_database_fails(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch, code: int, longest_outage: int, hold: Hold
) -> None:
    def fail(*arguments: Any) -> None:
        error = sqlite3.OperationalError()
        error.sqlite_errorcode = code
        raise OperationalError("UPDATE", {}, error)

    claim = claimed(embedded_jobs, LEASE)
    monkeypatch.setattr(JobRepository, "heartbeat", fail)
    monkeypatch.setattr("worker.heartbeat._SECONDS_BETWEEN_BEATS", 0.1)
    monkeypatch.setattr("worker.heartbeat._LONGEST_OUTAGE", longest_outage)
    settings = embedded_jobs.settings.model_copy(update={"lease": LEASE})
    with Heartbeat(settings, embedded_jobs.sessions, claim) as heartbeat:
        time.sleep(1.2)
        assert heartbeat.hold is hold


def test_after_an_outage_the_lease_is_extended_though_it_had_expired(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(embedded_jobs, -LEASE)
    monkeypatch.setattr("worker.heartbeat._SECONDS_BETWEEN_BEATS", 0.1)
    with Heartbeat(embedded_jobs.settings, embedded_jobs.sessions, claim) as heartbeat:
        wait_for(lambda: not expired(embedded_jobs, claim.job_id))
        assert heartbeat.hold is Hold.HELD


def test_a_worker_that_was_suspended_asks_before_it_gives_the_job_up(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("worker.heartbeat.time", SimpleNamespace(monotonic=lambda: now))
    heartbeat = Heartbeat(embedded_jobs.settings, embedded_jobs.sessions, claimed(embedded_jobs, LEASE))
    now += 100 * embedded_jobs.settings.lease.total_seconds()
    holds = [heartbeat.hold]
    for _ in range(40):
        now += embedded_jobs.settings.lease.total_seconds() / 4
        holds.append(heartbeat.hold)
    assert (holds[0], holds[-1]) == (Hold.HELD, Hold.LOST)


def test_a_job_that_another_worker_took_during_an_outage_is_lost(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claimed(embedded_jobs, -LEASE)
    with embedded_jobs.sessions.begin() as session:
        assert JobRepository(session).expire_leases(max_attempts=3) == 1
        assert JobRepository(session).claim(claim.job_id, LEASE) is not None
    monkeypatch.setattr("worker.heartbeat._SECONDS_BETWEEN_BEATS", 0.1)
    with Heartbeat(embedded_jobs.settings, embedded_jobs.sessions, claim) as heartbeat:
        wait_for(lambda: heartbeat.hold is Hold.LOST)


def claimed(jobs: Jobs, lease: timedelta) -> Claim:
    """Submit a job and claim it."""
    job_id = jobs.submit()
    with jobs.sessions.begin() as session:
        claim = JobRepository(session).claim(job_id, lease)
    assert claim is not None
    return claim


def expired(jobs: Jobs, job_id: str) -> bool:
    with jobs.sessions() as session:
        lease_until = session.get_one(Job, job_id).lease_until
    assert lease_until is not None
    return lease_until < datetime.now(UTC)
