"""Every query on jobs. A change of state is one compare-and-set, is told as an event, and says whether it hit.

Times are the database's own, so that the clocks of several machines do not matter. Callers own the
transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, delete, exists, func, literal, null, select, update
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.dml import Delete, Update

from app.access.quotas import Usage
from app.database import current_time, rows_changed
from app.datasets.models import Dataset
from app.events.models import EventKind
from app.events.repository import EventRepository, QueueHistory
from app.jobs.deadline import DEADLINE_EXCEEDED
from app.jobs.kinds import JobKind
from app.jobs.labels import Label
from app.jobs.models import TERMINAL, ArtifactUse, Job, JobLabel, JobStatus, UtcDateTime
from app.uploads.models import PartialUpload, Upload
from app.webhooks.models import WebhookDelivery
from app.webhooks.repository import WebhookRepository
from app.webhooks.webhook import Webhook

_LOST = "worker_lost"


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a worker holds while it works on a job; `attempt` is its fencing token.

    `snapshots`, by name, are what attempts before it have left to go on from; after `seconds_left` the job's deadline
    is over; `history` is how it came here.
    """

    job_id: str
    attempt: int
    kind: JobKind
    checkpoint_sha256: str
    checkpoint_bytes: int
    dataset_sha256: str | None
    options: Mapping[str, Any]
    snapshots: Mapping[str, Any]
    seconds_left: float | None = None
    history: QueueHistory = field(default_factory=QueueHistory)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJob:
    """A job as it is submitted."""

    id: str
    tenant: str
    device: str
    options: Mapping[str, Any]
    checkpoint_sha256: str
    checkpoint_bytes: int
    dataset_sha256: str | None = None
    kind: JobKind = JobKind.ENCODING
    labels: Mapping[str, str] = field(default_factory=dict)
    webhook: Webhook | None = None
    deadline: timedelta | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job that the broker is to be told of, as it was seen: due at `announce_at`."""

    job_id: str
    device: str
    announcements: int
    announce_at: datetime


class JobRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._events = EventRepository(session)

    def now(self) -> datetime:
        """The database's clock."""
        return current_time(self._session)

    def add(self, new: NewJob) -> Job:
        """Insert a queued job, to be announced at once."""
        now = self.now()
        job = Job(
            id=new.id,
            tenant=new.tenant,
            kind=new.kind,
            status=JobStatus.QUEUED,
            device=new.device,
            options=dict(new.options),
            labels=dict(new.labels) or None,
            webhook=None if new.webhook is None else new.webhook.model_dump(mode="json"),
            checkpoint_sha256=new.checkpoint_sha256,
            checkpoint_bytes=new.checkpoint_bytes,
            dataset_sha256=new.dataset_sha256,
            attempt=0,
            announce_at=now,
            created_at=now,
            deadline_at=None if new.deadline is None else now + new.deadline,
        )
        self._session.add(job)
        self._session.add_all(JobLabel(job_id=new.id, key=k, value=v, tenant=new.tenant) for k, v in new.labels.items())
        self._use(new.id, filter(None, [new.checkpoint_sha256, new.dataset_sha256]))
        self._session.flush()
        traced = {} if new.traceparent is None else {"traceparent": new.traceparent}
        self._events.add(new.id, EventKind.QUEUED, now, {"attempt": 0, **traced})
        return job

    def get(self, job_id: str, tenant: str) -> Job | None:
        """Find a job of a tenant; that of another one is not there."""
        return self._session.scalars(select(Job).where(Job.id == job_id, Job.tenant == tenant)).one_or_none()

    def find(self, job_ids: Iterable[str]) -> Sequence[Job]:
        """Those of the jobs that there are, whosever they are."""
        return self._session.scalars(select(Job).where(Job.id.in_(list(job_ids)))).all()

    def page(
        self,
        tenant: str,
        *,
        status: JobStatus | None,
        labels: Sequence[Label] = (),
        before: str | None,
        limit: int,
    ) -> Sequence[Job]:
        """The tenant's jobs with all of these labels, newest first; `before` is the id to go on after."""
        query, job_id = select(Job).where(Job.tenant == tenant), Job.id
        if labels:
            # The first one leads: its index has the jobs in their order, however many or few there are.
            query, job_id = query.join(JobLabel, JobLabel.job_id == Job.id), JobLabel.job_id
            query = query.where(JobLabel.tenant == tenant, JobLabel.key == labels[0].key)
            query = query.where(JobLabel.value == labels[0].value, *map(_has_label, labels[1:]))
        if status is not None:
            query = query.where(Job.status == status)
        if before is not None:
            query = query.where(job_id < before)
        return self._session.scalars(query.order_by(job_id.desc()).limit(limit)).all()

    def lock(self, tenant: str) -> None:
        """Let nobody else count or add jobs of this tenant until the transaction ends."""
        # SQLite has one writer anyway, from BEGIN IMMEDIATE on.
        if self._session.get_bind().dialect.name == "postgresql":
            self._session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(tenant, 0))))

    def usage(self, tenant: str) -> Usage:
        """What the tenant has now."""
        active = func.count().filter(Job.status.not_in(TERMINAL))
        stored = func.coalesce(func.sum(Job.checkpoint_bytes + Job.result_bytes).filter(~Job.data_removed), 0)
        found = self._session.execute(select(active, stored).where(Job.tenant == tenant)).one()
        uploaded = select(func.coalesce(func.sum(Upload.bytes), 0)).where(Upload.tenant == tenant)
        arriving = select(func.coalesce(func.sum(PartialUpload.length), 0)).where(
            PartialUpload.tenant == tenant, PartialUpload.received < PartialUpload.length
        )
        datasets = select(func.coalesce(func.sum(Dataset.bytes), 0)).where(Dataset.tenant == tenant)
        more = [self._session.scalars(query).one() for query in (uploaded, arriving, datasets)]
        return Usage(int(found[0]), int(found[1]) + sum(map(int, more)))

    def claim(self, job_id: str, lease: timedelta) -> Claim | None:
        """Take a queued job. None: it is not queued (any more), which makes a doubled message harmless."""
        now = self.now()
        hit = self._turn(
            update(Job)
            .where(Job.id == job_id, Job.status == JobStatus.QUEUED)
            .values(
                status=JobStatus.RUNNING,
                attempt=Job.attempt + 1,
                lease_until=now + lease,
                announce_at=None,
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
            dataset_sha256=job.dataset_sha256,
            options=job.options,
            snapshots=job.snapshots or {},
            seconds_left=None if job.deadline_at is None else (job.deadline_at - now).total_seconds(),
            history=self._events.queue_history(job_id),
        )

    def heartbeat(
        self, claim: Claim, lease: timedelta, phase: str | None, progress: Mapping[str, Any] | None
    ) -> JobStatus | None:
        """Extend the lease and write the progress; returns the status, or None if the job is no longer held."""
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
        """Name the snapshots that the next attempt is to go on from."""
        return self._hit(_held(claim).values(snapshots=dict(snapshots)))

    def succeed(self, claim: Claim, metrics: Mapping[str, Any] | None, artifacts: Mapping[str, Any]) -> bool:
        """Publish the results, and an encoding's metrics. A job that is being canceled does not succeed any more."""
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
        """End a job with an error. A job that is being canceled does not fail any more."""
        return bool(self._fail(_held(claim, JobStatus.RUNNING), code, message))

    def try_again(self, claim: Claim, max_attempts: int, code: str, message: str) -> JobStatus | None:
        """Queue a job again whose attempt was cut off, or end it with an error after so many attempts.

        Returns what it is now, or None if the job is no longer held or being canceled.
        """
        is_last = Job.attempt - Job.releases >= max_attempts
        held = _held(claim, JobStatus.RUNNING)
        if self._turn(held.where(~is_last).values(**self._queued_again()), reason=code):
            return JobStatus.QUEUED
        return JobStatus.FAILED if self._fail(held.where(is_last), code, message) else None

    def confirm_cancel(self, claim: Claim) -> bool:
        """The worker has stopped a job that is being canceled."""
        canceled = {"status": JobStatus.CANCELED, **self._ended()}
        return bool(self._turn(_held(claim, JobStatus.CANCELING).values(**canceled)))

    def release(self, claim: Claim) -> bool:
        """Give a job back to the queue because the worker stops. It counts as no attempt."""
        released = {"releases": Job.releases + 1, **self._queued_again()}
        return bool(self._turn(_held(claim, JobStatus.RUNNING).values(**released), reason="worker_stopped"))

    def request_cancel(self, job_id: str, tenant: str) -> bool:
        """Cancel a queued job at once, ask the worker of a running one. False: the job has ended, or is unknown."""
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
        # Asked for again: there is nothing to change, and nothing new to tell.
        return bool(hit) or self._session.scalar(select(Job.status).where(*mine)) == JobStatus.CANCELING

    def expire_leases(self, max_attempts: int) -> int:
        """Take jobs from workers that have fallen silent: queue them again, or end them. Returns how many."""
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
        """End jobs that still wait when their deadline is over; that of a running one is its worker's business."""
        waiting = update(Job).where(Job.status == JobStatus.QUEUED, Job.deadline_at < self.now())
        return self._fail(waiting, DEADLINE_EXCEEDED, "The job still waited for a worker when its deadline was over.")

    def to_announce(self, limit: int) -> Sequence[Waiting]:
        """Queued jobs that the broker is to be told of now, the longest due first."""
        query = (
            select(Job.id, Job.device, Job.announcements, Job.announce_at)
            .where(Job.status == JobStatus.QUEUED, Job.announce_at <= self.now())
            .order_by(Job.announce_at, Job.id)
            .limit(limit)
        )
        rows = self._session.execute(query)
        return [Waiting(row.id, row.device, row.announcements, row.announce_at) for row in rows]

    def mark_announced(self, announced: Iterable[tuple[Waiting, timedelta]]) -> None:
        """The broker has been told of these jobs; if they stay queued, it is to be told again after the pause.

        A job that has meanwhile come back to the queue stays due: the message that it waits for is another one.
        """
        now = self.now()
        for waiting, pause in announced:
            self._session.execute(
                update(Job)
                .where(Job.id == waiting.job_id, Job.announce_at == waiting.announce_at)
                .values(announcements=waiting.announcements + 1, announce_at=now + pause)
            )

    def announce_again(self, job_id: str) -> bool:
        """The message of this queued job has reached nobody who will work on it."""
        queued = update(Job).where(Job.id == job_id, Job.status == JobStatus.QUEUED)
        return self._hit(queued.values(announce_at=self.now()))

    def delete(self, job_id: str, tenant: str) -> bool:
        """Forget a job that has ended, and what it used. False: it has not ended, or is unknown."""
        hit = self._hit(delete(Job).where(Job.id == job_id, Job.tenant == tenant, Job.status.in_(TERMINAL)))
        if hit:
            for table in (ArtifactUse, JobLabel, WebhookDelivery):
                self._session.execute(delete(table).where(table.job_id == job_id))
            self._events.forget([job_id])
        return hit

    def expire_data(self, age: timedelta, limit: int) -> int:
        """Let go of the files and events of jobs that ended so long ago; returns of how many."""
        query = select(Job.id).where(~Job.data_removed, Job.finished_at < self.now() - age).limit(limit)
        expired = self._session.scalars(query).all()
        self._count(update(Job).where(Job.id.in_(expired)).values(data_removed=True))
        self._session.execute(delete(ArtifactUse).where(ArtifactUse.job_id.in_(expired)))
        self._events.forget(expired)
        return len(expired)

    def not_ended(self, job_ids: Sequence[str]) -> set[str]:
        """Those of the jobs that may still be worked on."""
        query = select(Job.id).where(Job.id.in_(job_ids), Job.status.not_in(TERMINAL))
        return set(self._session.scalars(query))

    def is_live(self, job_id: str, attempt: int) -> bool:
        """Whether a worker may be working on this attempt of the job."""
        live = (JobStatus.RUNNING, JobStatus.CANCELING)
        query = select(Job.id).where(Job.id == job_id, Job.attempt == attempt, Job.status.in_(live))
        return self._session.scalar(query) is not None

    def _use(self, job_id: str, digests: Iterable[str]) -> None:
        for digest in set(digests):
            self._session.merge(ArtifactUse(job_id=job_id, sha256=digest))

    def _let_go(self, job_id: str, digest: str) -> None:
        used = (ArtifactUse.job_id == job_id, ArtifactUse.sha256 == digest)
        self._session.execute(delete(ArtifactUse).where(*used))

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
        """End jobs with an error; returns how many were hit."""
        failed = {"status": JobStatus.FAILED, "error_code": code, "error_message": message, **self._ended()}
        return self._turn(statement.values(**failed), code=code, message=message)

    def _turn(self, statement: Update, **told: str) -> int:
        """Change the status of jobs and tell it, with what else there is to tell; returns how many were hit.

        It becomes an event of each job, and what its webhook is to be told. What has ended needs its data set no more.
        """
        changed = statement.returning(
            Job.id, Job.tenant, Job.status, Job.attempt, Job.webhook, Job.checkpoint_sha256, Job.dataset_sha256
        )
        rows = self._session.execute(changed, execution_options={"synchronize_session": False}).all()
        self._session.expire_all()
        webhooks, now = WebhookRepository(self._session), self.now()
        for job_id, tenant, status, attempt, webhook, checkpoint, dataset in rows:
            self._events.add(job_id, EventKind(status), now, {"attempt": attempt, **told})
            webhooks.note(job_id, tenant, JobStatus(status), webhook, now)
            if dataset not in {None, checkpoint} and status in TERMINAL:
                self._let_go(job_id, dataset)
        return len(rows)

    def _hit(self, statement: Update | Delete) -> bool:
        return self._count(statement) == 1

    def _count(self, statement: Update | Delete) -> int:
        # Objects of this session are read again afterwards: the statement runs past them.
        count = rows_changed(self._session, statement.execution_options(synchronize_session=False))
        self._session.expire_all()
        return count


def _has_label(label: Label) -> ColumnElement[bool]:
    other = aliased(JobLabel)
    return exists().where(other.job_id == Job.id, other.key == label.key, other.value == label.value)


def _held(claim: Claim, *statuses: JobStatus) -> Update:
    """An update of the claimed job, which misses once another worker or the sweeper has taken it."""
    return update(Job).where(
        Job.id == claim.job_id,
        Job.attempt == claim.attempt,
        Job.status.in_(statuses or (JobStatus.RUNNING, JobStatus.CANCELING)),
    )
