"""Changes of a job's state: each is one compare-and-set, writes an event, and returns whether it hit.

Times are the database's own, so that the clocks of several machines do not matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import case, func, literal, null, select, update
from sqlalchemy.sql.dml import Update

from app.db.base import UtcDateTime
from app.db.stored_documents import read_document
from app.jobs.deliveries.repository import DeliveryRepository
from app.jobs.events.models import EventKind
from app.jobs.events.repository import QueueHistory
from app.jobs.kinds import JobKind
from app.jobs.models import NOT_UNDERSTOOD, TERMINAL, Job, JobStatus
from app.jobs.snapshots.store import is_snapshot_name
from app.jobs.statements import Statements
from app.jobs.submission.deadline import DEADLINE_EXCEEDED
from app.kit.backoff import Backoff
from app.storage.artifacts import is_described
from app.webhooks.webhook import WebhookEvent
from nern_core.contract.options import EncodeOptions

_LOST = "worker_lost"
_WEBHOOK_EVENTS = {
    JobStatus.SUCCEEDED: WebhookEvent.SUCCEEDED,
    JobStatus.FAILED: WebhookEvent.FAILED,
    JobStatus.CANCELED: WebhookEvent.CANCELED,
}
# Pauses before a job that a worker does not understand is announced again.
_BACKOFF = Backoff(first=timedelta(seconds=5), longest=timedelta(seconds=320))
_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A worker's claim on a job; `attempt` is its fencing token.

    `snapshots`, by name, are those of earlier attempts to resume from. `expected_bytes` is the space that the results
    may take, 0 if it was not counted. `seconds_left` is the time to the job's deadline. `history` is its time in the
    queue.
    """

    job_id: str
    attempt: int
    kind: JobKind
    checkpoint_sha256: str
    checkpoint_bytes: int
    dataset_sha256: str | None
    options: Mapping[str, Any]
    snapshots: Mapping[str, Any]
    expected_bytes: int = 0
    seconds_left: float | None = None
    history: QueueHistory = field(default_factory=QueueHistory)


class Transitions(Statements):
    """Changes of state from `queued` to a terminal state."""

    def claim(self, job_id: str, lease: timedelta) -> Claim | None:
        """Claim a queued job. None: it is not queued any more, which makes a duplicate message harmless.

        A job that another release has submitted, with options that this one does not understand, is not claimed either.
        """
        now = self.now()
        if self._leave_not_understood(job_id, now):
            return None
        hit = self._turn(
            update(Job)
            .where(Job.id == job_id, Job.status == JobStatus.QUEUED)
            .values(
                status=JobStatus.RUNNING,
                attempt=Job.attempt + 1,
                lease_until=now + lease,
                announce_at=None,
                phase=None,
                started_at=func.coalesce(Job.started_at, now),
            )
        )
        if not hit:
            return None
        job = self._session.scalars(select(Job).where(Job.id == job_id)).one()
        return Claim(
            job_id=job.id,
            attempt=job.attempt,
            kind=JobKind(job.kind),
            checkpoint_sha256=job.checkpoint_sha256,
            checkpoint_bytes=job.checkpoint_bytes,
            expected_bytes=job.expected_bytes,
            dataset_sha256=job.dataset_sha256,
            options=job.options or {},
            snapshots=_usable_snapshots(job.snapshots or {}),
            seconds_left=None if job.deadline_at is None else (job.deadline_at - now).total_seconds(),
            history=self._events.queue_history(job_id),
        )

    def _leave_not_understood(self, job_id: str, now: datetime) -> bool:
        """Leave a queued job of another release to that release's workers, and announce it after a growing pause."""
        query = select(Job.kind, Job.options, Job.announcements)
        found = self._session.execute(query.where(Job.id == job_id, Job.status == JobStatus.QUEUED)).one_or_none()
        if found is None or _is_understood(found.kind, found.options):
            return False
        pause = _BACKOFF.pause(found.announcements)
        queued = update(Job).where(Job.id == job_id, Job.status == JobStatus.QUEUED)
        left = {"phase": NOT_UNDERSTOOD, "announcements": found.announcements + 1, "announce_at": now + pause}
        if self._hit(queued.values(left)):
            _log.warning("job_not_understood", job=job_id, kind=found.kind, seconds=pause.total_seconds())
        return True

    def heartbeat(
        self, claim: Claim, lease: timedelta, phase: str | None, progress: Mapping[str, Any] | None
    ) -> JobStatus | None:
        """Extend the lease and write the progress; return the status, or None if the claim is lost."""
        now = self.now()
        hit = self._hit(
            _held(claim).values(
                lease_until=now + lease, phase=phase, progress=None if progress is None else dict(progress)
            )
        )
        if not hit:
            return None
        if progress is not None:
            self._events.add_progress(claim.job_id, now, {"phase": phase, **progress})
        return JobStatus(self._session.scalars(select(Job.status).where(Job.id == claim.job_id)).one())

    def keep_snapshots(self, claim: Claim, snapshots: Mapping[str, Any]) -> bool:
        """Record the snapshots that the next attempt resumes from."""
        return self._hit(_held(claim).values(snapshots=dict(snapshots)))

    def succeed(self, claim: Claim, metrics: Mapping[str, Any] | None, artifacts: Mapping[str, Any]) -> bool:
        """Publish the results, and an encoding's metrics. Misses a job that is being canceled."""
        hit = self._turn(
            _held(claim, JobStatus.RUNNING).values(
                status=JobStatus.SUCCEEDED,
                metrics=None if metrics is None else dict(metrics),
                artifacts=dict(artifacts),
                result_bytes=sum(artifact["bytes"] for artifact in artifacts.values()),
                **self._ended(),
            )
        )
        if hit:
            self._use(claim.job_id, [artifact["sha256"] for artifact in artifacts.values()])
        return bool(hit)

    def fail(self, claim: Claim, code: str, message: str) -> bool:
        """End a job with an error. Misses a job that is being canceled."""
        return bool(self._fail(_held(claim, JobStatus.RUNNING), code, message))

    def try_again(self, claim: Claim, max_attempts: int, code: str, message: str) -> JobStatus | None:
        """Queue a job again after an interrupted attempt, or end it with an error after `max_attempts`.

        Returns the new status, or None if the claim is lost or the job is being canceled.
        """
        is_last = Job.attempt - Job.releases >= max_attempts
        held = _held(claim, JobStatus.RUNNING)
        if self._turn(held.where(~is_last).values(**self._queued_again()), reason=code):
            return JobStatus.QUEUED
        return JobStatus.FAILED if self._fail(held.where(is_last), code, message) else None

    def confirm_cancel(self, claim: Claim) -> bool:
        """End a job that is being canceled, after the worker has stopped it."""
        canceled = {"status": JobStatus.CANCELED, **self._ended()}
        return bool(self._turn(_held(claim, JobStatus.CANCELING).values(**canceled)))

    def release(self, claim: Claim, reason: str = "worker_stopped") -> bool:
        """Return a job to the queue because the worker stops or cannot work. This does not count as an attempt."""
        released = {"releases": Job.releases + 1, **self._queued_again()}
        return bool(self._turn(_held(claim, JobStatus.RUNNING).values(**released), reason=reason))

    def request_cancel(self, job_id: str, tenant: str) -> bool:
        """Cancel a queued job at once, or ask a running job's worker to. False: the job has ended or is unknown."""
        # One statement: between two, a job could go from running to queued and be missed by both.
        queued, mine = Job.status == JobStatus.QUEUED, (Job.id == job_id, Job.tenant == tenant)
        hit = self._turn(
            update(Job)
            .where(*mine, Job.status.in_((JobStatus.QUEUED, JobStatus.RUNNING)))
            .values(
                status=case((queued, JobStatus.CANCELED), else_=JobStatus.CANCELING),
                finished_at=case((queued, literal(self.now(), UtcDateTime())), else_=null()),
                snapshots=case((queued, null()), else_=Job.snapshots),
                announce_at=None,
            )
        )
        # A repeated request is a no-op.
        return bool(hit) or self._session.scalar(select(Job.status).where(*mine)) == JobStatus.CANCELING

    def expire_leases(self, max_attempts: int) -> int:
        """Take jobs whose lease has expired: queue them again, or end them. Returns the number of jobs."""
        lost, is_last = Job.lease_until < self.now(), Job.attempt - Job.releases >= max_attempts
        running = update(Job).where(Job.status == JobStatus.RUNNING, lost)
        message = f"The worker of this job was lost {max_attempts} times; submit the job again."
        canceling = update(Job).where(Job.status == JobStatus.CANCELING, lost)
        return (
            self._fail(running.where(is_last), _LOST, message)
            + self._turn(running.where(~is_last).values(**self._queued_again()), reason=_LOST)
            + self._turn(canceling.values(status=JobStatus.CANCELED, **self._ended()))
        )

    def expire_deadlines(self) -> int:
        """End queued jobs whose deadline has passed; running ones are ended by their worker."""
        waiting = update(Job).where(Job.status == JobStatus.QUEUED, Job.deadline_at < self.now())
        return self._fail(waiting, DEADLINE_EXCEEDED, "The deadline passed before a worker was free.")

    def _ended(self) -> dict[str, Any]:
        return {"finished_at": self.now(), "lease_until": None, "announce_at": None, "snapshots": None}

    def _queued_again(self) -> dict[str, Any]:
        return {
            "status": JobStatus.QUEUED,
            "lease_until": None,
            "announcements": 0,
            "announce_at": self.now(),
            "phase": None,
            "progress": None,
        }

    def _fail(self, statement: Update, code: str, message: str) -> int:
        """End jobs with an error; return the number of hits."""
        failed = {"status": JobStatus.FAILED, "error_code": code, "error_message": message, **self._ended()}
        return self._turn(statement.values(**failed), code=code, message=message)

    def _turn(self, statement: Update, **data: str) -> int:
        """Change the status of jobs; return the number of hits.

        For each job, add an event with the fields `data`, and a delivery for its webhook. A job that has ended no
        longer uses its data set.
        """
        changed = statement.returning(
            Job.id, Job.tenant, Job.status, Job.attempt, Job.webhook, Job.checkpoint_sha256, Job.dataset_sha256
        )
        rows = self._session.execute(changed, execution_options={"synchronize_session": False}).all()
        self._session.expire_all()
        deliveries, now = DeliveryRepository(self._session), self.now()
        for job_id, tenant, status, attempt, webhook, checkpoint, dataset in rows:
            self._events.add(job_id, EventKind(status), now, {"attempt": attempt, **data})
            if status in _WEBHOOK_EVENTS:
                deliveries.note(job_id, tenant, _WEBHOOK_EVENTS[status], webhook, now)
            if dataset not in {None, checkpoint} and status in TERMINAL:
                self._stop_using(job_id, dataset)
        return len(rows)


def _is_understood(kind: str, options: Mapping[str, Any] | None) -> bool:
    """Return whether this release can do what a job asks for."""
    if kind == JobKind.RECONSTRUCTION:
        return True
    return kind == JobKind.ENCODING and read_document(EncodeOptions, options) is not None


def _usable_snapshots(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the snapshots that this release understands; without the others, some work is repeated."""
    return {name: found for name, found in stored.items() if is_described(found) and is_snapshot_name(name)}


def _held(claim: Claim, *statuses: JobStatus) -> Update:
    """Return an update of the claimed job, which misses once another worker or the sweeper has taken it."""
    return update(Job).where(
        Job.id == claim.job_id,
        Job.attempt == claim.attempt,
        Job.status.in_(statuses or (JobStatus.RUNNING, JobStatus.CANCELING)),
    )
