import sqlite3
import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.jobs.repository import JobRepository
from tests.worker.conftest import Jobs
from worker.heartbeat import Heartbeat, Hold

LEASE = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("code", "hold"),
    [(sqlite3.SQLITE_FULL, Hold.HELD), (sqlite3.SQLITE_IOERR, Hold.LOST)],
    ids=["full", "broken"],
)
def test_a_job_is_held_while_the_disk_of_the_database_is_full_since_nobody_else_can_take_it(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch, code: int, hold: Hold
) -> None:
    def fail(*arguments: Any) -> None:
        error = sqlite3.OperationalError()
        error.sqlite_errorcode = code
        raise OperationalError("UPDATE", {}, error)

    job_id = embedded_jobs.submit()
    with embedded_jobs.sessions.begin() as session:
        claim = JobRepository(session).claim(job_id, LEASE)
    assert claim is not None
    monkeypatch.setattr(JobRepository, "heartbeat", fail)
    monkeypatch.setattr("worker.heartbeat._SECONDS_BETWEEN_BEATS", 0.1)
    settings = embedded_jobs.settings.model_copy(update={"lease": LEASE})
    with Heartbeat(settings, embedded_jobs.sessions, claim) as heartbeat:
        time.sleep(1.2)
        assert heartbeat.hold is hold
