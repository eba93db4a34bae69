"""The relay: tells the broker of queued jobs, and takes jobs from workers that have fallen silent.

It also ends those that still wait when their deadline is over. Request handlers commit rows and never talk to the
broker. The relay runs in a thread of every API process; several of them, or a message that is lost or doubled, change
nothing but the time a job waits.
"""

import threading
import time
from collections.abc import Sequence
from datetime import timedelta

import structlog
from celery import Celery
from sqlalchemy.orm import Session

from app.database import Sessions, transact
from app.jobs.announcements import Waiting
from app.jobs.broker import announce
from app.jobs.repository import JobRepository
from app.settings import Settings

_log = structlog.get_logger()
_LONGEST_PAUSE = timedelta(hours=1)
_JOBS_PER_ROUND = 100
_SECONDS_TO_STOP = 10.0
# When the database can be written to again, workers extend their leases before any of these is found to have run out.
_SECONDS_TO_RECOVER = 5.0


class Relay:
    """A background thread; `wake` makes it look at once."""

    def __init__(self, settings: Settings, sessions: Sessions, celery: Celery) -> None:
        self._settings = settings
        self._sessions = sessions
        self._celery = celery
        self._wake = threading.Event()
        self._stopping = False
        self._no_sweep_before = 0.0
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the round that is under way."""
        self._stopping = True
        self._wake.set()
        self._thread.join(_SECONDS_TO_STOP)

    def wake(self) -> None:
        """There is a new job."""
        self._wake.set()

    def round(self) -> int:
        """Look once; returns how many jobs were announced. After a failure no lease runs out for a while."""
        try:
            return self._round()
        except Exception:
            self._no_sweep_before = time.monotonic() + _SECONDS_TO_RECOVER
            raise

    def _round(self) -> int:
        waiting = transact(self._sessions, self._look)
        announced: list[Waiting] = []
        try:
            for job in waiting:
                announce(self._celery, job.job_id, job.device)
                announced.append(job)
        finally:
            # Between sending and marking a crash only doubles a message.
            self._mark(announced)
        return len(announced)

    def _look(self, session: Session) -> Sequence[Waiting]:
        repository = JobRepository(session)
        if time.monotonic() >= self._no_sweep_before:
            repository.expire_leases(self._settings.max_attempts)
        repository.expire_deadlines()
        return repository.to_announce(_JOBS_PER_ROUND)

    def _mark(self, announced: Sequence[Waiting]) -> None:
        if announced:
            marks = [(job, self._pause_after(job)) for job in announced]
            transact(self._sessions, lambda session: JobRepository(session).mark_announced(marks))

    def _pause_after(self, job: Waiting) -> timedelta:
        return pause_after(job.announcements, self._settings.announce_pause)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.round()
            except Exception as error:  # noqa: BLE001 # the thread must outlive every outage of database and broker
                _log.warning("relay_failed", error=repr(error))
            self._wake.wait(self._settings.relay_interval.total_seconds())
            self._wake.clear()


def pause_after(announcements: int, first: timedelta) -> timedelta:
    """How long to wait for a worker before a message is taken for lost: doubled each time, an hour at most.

    A job that waits its turn in a long queue must not fill the broker with copies of its message.
    """
    doublings = min(announcements, 10)
    return min(_LONGEST_PAUSE, first * (1 << doublings))
