"""Relay: announces queued jobs to the broker, and takes jobs from workers whose lease has expired.

It also ends queued jobs whose deadline has passed. Request handlers commit rows and never talk to the broker. The relay
runs in a thread of every API process. Several relays, and lost or duplicate messages, change only how long a job waits.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import structlog
from celery import Celery
from sqlalchemy.orm import Session

from app.db.transactions import Sessions, transact
from app.jobs.announcements import Waiting
from app.jobs.broker import announce
from app.jobs.repository import JobRepository
from app.kit.backoff import Backoff
from app.settings import Settings

_log = structlog.get_logger()
_LONGEST_PAUSE = timedelta(hours=1)
_JOBS_PER_ROUND = 100
_SECONDS_TO_STOP = 10.0
# After an outage of the database or a suspension of this machine, workers get a lease, or this time if it is longer,
# to extend their leases before any is expired.
_SECONDS_TO_RECOVER = 5.0


class Relay:
    """Background thread that works in rounds; `wake` starts the next one at once."""

    def __init__(self, settings: Settings, sessions: Sessions, celery: Celery) -> None:
        self._settings = settings
        self._sessions = sessions
        self._celery = celery
        self._backoff = announcement_backoff(settings.announce_pause)
        self._wake = threading.Event()
        self._stopping = False
        self._no_sweep_before = 0.0
        self._left_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current round."""
        self._stopping = True
        self._wake.set()
        self._thread.join(_SECONDS_TO_STOP)

    def wake(self) -> None:
        """Start a round now, because there is a new job."""
        self._wake.set()

    def round(self) -> int:
        """Run once; return the number of announced jobs.

        No lease is expired for a while after a failure of the database, and after this process did not run for long.
        """
        self._notice_gap()
        try:
            with self._sparing_leases():
                waiting = transact(self._sessions, self._look)
            return self._announce(waiting)
        finally:
            self._left_at = time.time()

    def _notice_gap(self) -> None:
        """Spare the leases if the last round was much longer ago than planned: the workers may have stood still too."""
        # By the time of day, because other clocks stop while the machine is suspended. A step of the clock counts too.
        if self._left_at is not None:
            late = time.time() - self._left_at - self._settings.relay_interval.total_seconds()
            if late > self._settings.lease.total_seconds() / 2:
                _log.warning("relay_late", seconds=round(late, 1))
                self._spare_leases()

    @contextmanager
    def _sparing_leases(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._spare_leases()
            raise

    def _spare_leases(self) -> None:
        pause = max(_SECONDS_TO_RECOVER, self._settings.lease.total_seconds())
        self._no_sweep_before = time.monotonic() + pause

    def _announce(self, waiting: Sequence[Waiting]) -> int:
        announced: list[Waiting] = []
        try:
            for job in waiting:
                announce(self._celery, job.job_id, job.device)
                announced.append(job)
        finally:
            # A crash between sending and marking only duplicates a message.
            with self._sparing_leases():
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
            marks = [(job, self._backoff.pause(job.announcements)) for job in announced]
            transact(self._sessions, lambda session: JobRepository(session).mark_announced(marks))

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.round()
            except Exception as error:  # noqa: BLE001 # the thread must outlive every outage of database and broker
                _log.warning("relay_failed", error=repr(error))
            self._wake.wait(self._settings.relay_interval.total_seconds())
            self._wake.clear()


def announcement_backoff(first: timedelta) -> Backoff:
    """Return the pauses before a message counts as lost: doubled each time, up to an hour.

    They grow so that a job in a long queue does not fill the broker with copies of its message.
    """
    return Backoff(first=first, longest=_LONGEST_PAUSE)
