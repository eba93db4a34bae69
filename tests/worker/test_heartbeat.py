import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.jobs.models import Job
from app.jobs.repository import JobRepository
from app.jobs.transitions import Claim
from tests.processes import wait_for
from tests.worker.conftest import Jobs
from tests.worker.supervision import Clock, fast, on
from worker.heartbeat import Heartbeat, LeaseState

LEASE = timedelta(seconds=1)


class BrokenDatabase:
    """Fails every heartbeat with an error of SQLite, and counts them."""

    def __init__(self, code: int) -> None:
        self._code = code
        self.beats = 0

    def __call__(self, *arguments: Any) -> None:
        self.beats += 1
        error = sqlite3.OperationalError()
        error.sqlite_errorcode = self._code
        raise OperationalError("UPDATE", {}, error)


@pytest.mark.parametrize(
    ("code", "later"),
    [(sqlite3.SQLITE_FULL, LeaseState.HELD), (sqlite3.SQLITE_IOERR, LeaseState.LOST)],
    ids=["full", "broken"],
)
def test_a_job_is_held_for_ten_leases_while_the_database_fails(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch, code: int, later: LeaseState
) -> None:
    """With a full database nobody else can take the job, so it is held for as long as the outage takes."""
    clock, database = Clock(), BrokenDatabase(code)
    claim = claimed(embedded_jobs, LEASE)
    monkeypatch.setattr(JobRepository, "heartbeat", database)
    with Heartbeat(settings_of(embedded_jobs), embedded_jobs.sessions, claim, on(clock)) as heartbeat:
        assert set(holds_during(heartbeat, clock, leases=9)) == {LeaseState.HELD}
        # The second beat from now starts after the clock was set.
        wait_for(more_than(database, database.beats + 1))
        assert holds_during(heartbeat, clock, leases=2)[-1] is later


def holds_during(heartbeat: Heartbeat, clock: Clock, leases: int) -> list[LeaseState]:
    """Look four times in each lease; a longer pause would count as a suspended machine."""
    found = []
    for _ in range(4 * leases):
        clock.now += LEASE.total_seconds() / 4
        found.append(heartbeat.lease_state)
    return found


def more_than(database: BrokenDatabase, beats: int) -> Callable[[], bool]:
    return lambda: database.beats > beats


def settings_of(jobs: Jobs) -> Any:
    return jobs.settings.model_copy(update={"lease": LEASE})


def test_after_an_outage_the_lease_is_extended_though_it_had_expired(embedded_jobs: Jobs) -> None:
    claim = claimed(embedded_jobs, -LEASE)
    with Heartbeat(embedded_jobs.settings, embedded_jobs.sessions, claim, fast()) as heartbeat:
        wait_for(lambda: not expired(embedded_jobs, claim.job_id))
        assert heartbeat.lease_state is LeaseState.HELD


def test_a_worker_that_was_suspended_asks_before_it_gives_the_job_up(embedded_jobs: Jobs) -> None:
    clock = Clock()
    claim = claimed(embedded_jobs, LEASE)
    heartbeat = Heartbeat(settings_of(embedded_jobs), embedded_jobs.sessions, claim, on(clock))
    clock.now += 100 * LEASE.total_seconds()
    holds = [heartbeat.lease_state, *holds_during(heartbeat, clock, leases=10)]
    assert (holds[0], holds[-1]) == (LeaseState.HELD, LeaseState.LOST)


def test_a_job_that_another_worker_took_during_an_outage_is_lost(embedded_jobs: Jobs) -> None:
    claim = claimed(embedded_jobs, -LEASE)
    with embedded_jobs.sessions.begin() as session:
        assert JobRepository(session).expire_leases(max_attempts=3) == 1
        assert JobRepository(session).claim(claim.job_id, LEASE) is not None
    with Heartbeat(embedded_jobs.settings, embedded_jobs.sessions, claim, fast()) as heartbeat:
        wait_for(lambda: heartbeat.lease_state is LeaseState.LOST)


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
