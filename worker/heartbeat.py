"""Heartbeat of a job: a thread that extends the lease, writes the progress and detects a cancellation."""

import threading
from enum import Enum, auto
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db.transactions import Sessions, is_full_database
from app.jobs.models import JobStatus
from app.jobs.repository import JobRepository
from app.jobs.transitions import Claim
from app.settings import Settings
from nern_core.contract.progress import Progress
from worker.outcome import AttemptAborted, CancelRequested, LeaseLost
from worker.timing import Timing

_log = structlog.get_logger()
# Leases for which a supervisor that cannot reach the database keeps working: an outage that meets all workers must not
# cost every job its attempt. If the job was given to another worker meanwhile, the next beat notices, and the fence of
# the row keeps the results of this one out.
_LONGEST_OUTAGE = 10


class LeaseState(Enum):
    """State of a supervisor's lease on its job: held, to be canceled, or lost."""

    HELD = auto()
    CANCELING = auto()
    LOST = auto()


class Heartbeat:
    """Beats while the context is open: writes the current `progress` and checks whether the job is still held.

    If the machine allows no more threads, it does not beat.
    """

    def __init__(self, settings: Settings, sessions: Sessions, claim: Claim, timing: Timing) -> None:
        self.progress: Progress | None = None
        self.is_beating = False
        self._lease = settings.lease
        self._sessions = sessions
        self._claim = claim
        self._timing = timing
        self._extended = self._looked = timing.now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._lease_state = LeaseState.HELD

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except RuntimeError as error:
            _log.error("heartbeat_not_started", job=self._claim.job_id, error=repr(error))
        else:
            self.is_beating = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self.is_beating:
            self._thread.join()

    @property
    def lease_state(self) -> LeaseState:
        """The last known state. If the database was unreachable for ten leases, the job is lost."""
        now = self._timing.now()
        gap, self._looked = now - self._looked, now
        if gap > self._lease.total_seconds() / 2:
            # This process was suspended; the next beat tells whether the job is still held.
            self._extended += gap
        if now - self._extended >= _LONGEST_OUTAGE * self._lease.total_seconds():
            self._lease_state = LeaseState.LOST
        return self._lease_state

    def require_held(self) -> None:
        """Raise `AttemptAborted` if the job is lost or to be canceled."""
        if self.lease_state is LeaseState.LOST:
            raise AttemptAborted(LeaseLost())
        if self.lease_state is LeaseState.CANCELING:
            raise AttemptAborted(CancelRequested())

    def _run(self) -> None:
        while not self._stop.wait(self._timing.between_heartbeats) and self.lease_state is not LeaseState.LOST:
            # The lease is counted from before the beat, so that it never ends later than in the database.
            started = self._timing.now()
            try:
                status = self._beat()
            except SQLAlchemyError as error:
                _log.warning("heartbeat_failed", job=self._claim.job_id, error=repr(error))
                if is_full_database(error):
                    # Nobody else can write either, so the job is not given to another worker meanwhile.
                    self._extended = started
                continue
            self._extended = started
            if status is None:
                self._lease_state = LeaseState.LOST
            elif status is JobStatus.CANCELING:
                self._lease_state = LeaseState.CANCELING

    def _beat(self) -> JobStatus | None:
        progress = self.progress
        with self._sessions.begin() as session:
            return JobRepository(session).heartbeat(
                self._claim,
                self._lease,
                progress.phase.value if progress else None,
                progress.model_dump(mode="json", exclude={"phase"}) if progress else None,
            )
