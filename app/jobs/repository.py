"""Queries on jobs: those that add, find, count and remove them.

State changes are in `transitions`, announcements to the broker in `announcements`, and the choice of the job that a
worker takes in `turns`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.orm import aliased

from app.accounting.quotas import BYTES_OF_A_JOB, Usage
from app.jobs.announcements import Announcements
from app.jobs.deliveries.repository import DeliveryRepository
from app.jobs.events.models import EventKind
from app.jobs.kinds import JobKind
from app.jobs.models import TERMINAL, ArtifactUse, Job, JobLabel, JobStatus
from app.jobs.submission.labels import Label
from app.jobs.transitions import Transitions
from app.jobs.turns import Turns
from app.storage.artifacts import is_described
from app.webhooks.webhook import Webhook


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJob:
    """A job as submitted."""

    id: str
    tenant: str
    device: str
    options: Mapping[str, Any]
    checkpoint_sha256: str
    checkpoint_bytes: int
    expected_bytes: int = 0
    dataset_sha256: str | None = None
    kind: JobKind = JobKind.ENCODING
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    webhook: Webhook | None = None
    deadline: timedelta | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """The number of jobs whose data have expired, and their files by tenant, which the caller discards."""

    jobs: int
    files: Mapping[str, Mapping[str, int]]


class JobRepository(Transitions, Announcements, Turns):
    """All queries of one session on the table of jobs."""

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
            name=new.name,
            labels=dict(new.labels) or None,
            webhook=None if new.webhook is None else new.webhook.model_dump(mode="json"),
            checkpoint_sha256=new.checkpoint_sha256,
            checkpoint_bytes=new.checkpoint_bytes,
            expected_bytes=new.expected_bytes,
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
        """Find a job of a tenant; None for an unknown one, and for one of another tenant."""
        return self._session.scalars(select(Job).where(Job.id == job_id, Job.tenant == tenant)).one_or_none()

    def checkpoint_bytes(self, tenant: str, sha256: str) -> int | None:
        """Return the size of a file that a job of this tenant was submitted with and still has, or None."""
        query = select(Job.checkpoint_bytes).join(ArtifactUse, ArtifactUse.job_id == Job.id)
        named = query.where(ArtifactUse.sha256 == sha256, Job.checkpoint_sha256 == sha256, Job.tenant == tenant)
        return self._session.scalars(named.limit(1)).one_or_none()

    def find(self, job_ids: Iterable[str]) -> Sequence[Job]:
        """Return the jobs that exist, of any tenant."""
        return self._session.scalars(select(Job).where(Job.id.in_(list(job_ids)))).all()

    def page(
        self,
        tenant: str,
        *,
        status: Collection[JobStatus] = (),
        kind: JobKind | None = None,
        labels: Sequence[Label] = (),
        before: str | None = None,
        newer_than: str | None = None,
        limit: int,
    ) -> Sequence[Job]:
        """List the tenant's jobs that have one of these statuses (empty: any) and all of these labels, newest first.

        `before` is the id of the last job of the previous page, `newer_than` that of the first job of the next page.
        """
        query, job_id = select(Job).where(Job.tenant == tenant), Job.id
        if labels:
            # Start from the first label: its index returns the jobs in order, however many match.
            query, job_id = query.join(JobLabel, JobLabel.job_id == Job.id), JobLabel.job_id
            query = query.where(JobLabel.tenant == tenant, JobLabel.key == labels[0].key)
            query = query.where(JobLabel.value == labels[0].value, *map(_has_label, labels[1:]))
        if status:
            query = query.where(Job.status.in_(status))
        if kind is not None:
            query = query.where(Job.kind == kind)
        if before is not None:
            query = query.where(job_id < before)
        if newer_than is not None:
            oldest_first = query.where(job_id > newer_than).order_by(job_id).limit(limit)
            return self._session.scalars(oldest_first).all()[::-1]
        return self._session.scalars(query.order_by(job_id.desc()).limit(limit)).all()

    def usage(self, tenant: str) -> Usage:
        """Return the tenant's jobs that have not ended, and the bytes that all of its jobs count."""
        has_not_ended = Job.status.not_in(TERMINAL)
        active = func.count().filter(has_not_ended)
        stored = func.sum(Job.checkpoint_bytes + Job.result_bytes).filter(~Job.data_removed)
        expected = func.sum(Job.expected_bytes).filter(has_not_ended)
        rows = BYTES_OF_A_JOB * func.count()
        jobs = self._session.execute(select(active, stored, expected, rows).where(Job.tenant == tenant)).one()
        return Usage(jobs[0], sum(int(found or 0) for found in jobs[1:]))

    def named(self, digests: Collection[str]) -> set[str]:
        """Return those of the files that jobs use."""
        return set(self._session.scalars(select(ArtifactUse.sha256).where(ArtifactUse.sha256.in_(digests))))

    def counted(self, digests: Collection[str]) -> set[str]:
        """Return those of the files that count as a checkpoint or result; a job does not count its data set."""
        query = (
            select(ArtifactUse.sha256)
            .join(Job, Job.id == ArtifactUse.job_id)
            .where(
                ArtifactUse.sha256.in_(digests),
                or_(
                    Job.dataset_sha256.is_(None),
                    Job.dataset_sha256 != ArtifactUse.sha256,
                    Job.checkpoint_sha256 == ArtifactUse.sha256,
                ),
            )
        )
        return set(self._session.scalars(query))

    def delete(self, job_id: str, tenant: str) -> Mapping[str, int]:
        """Delete a job that has ended; return its files (sizes by digest), which the caller discards."""
        job = self.get(job_id, tenant)
        files = {} if job is None or job.data_removed else _files_of(job)
        if not self._hit(delete(Job).where(Job.id == job_id, Job.tenant == tenant, Job.status.in_(TERMINAL))):
            return {}
        for table in (ArtifactUse, JobLabel):
            self._session.execute(delete(table).where(table.job_id == job_id))
        DeliveryRepository(self._session).forget(job_id)
        self._events.forget([job_id])
        return files

    def expire_data(self, age: timedelta, limit: int) -> Expired:
        """Remove the uses of files and the events of up to `limit` jobs that ended more than `age` ago."""
        query = select(Job).where(~Job.data_removed, Job.finished_at < self.now() - age).limit(limit)
        files: dict[str, dict[str, int]] = defaultdict(dict)
        expired = []
        for job in self._session.scalars(query):
            expired.append(job.id)
            files[job.tenant] |= _files_of(job)
        self._count(update(Job).where(Job.id.in_(expired)).values(data_removed=True))
        self._session.execute(delete(ArtifactUse).where(ArtifactUse.job_id.in_(expired)))
        self._events.forget(expired)
        return Expired(len(expired), files)

    def not_ended(self, job_ids: Sequence[str]) -> set[str]:
        """Return those of the jobs that have not ended."""
        query = select(Job.id).where(Job.id.in_(job_ids), Job.status.not_in(TERMINAL))
        return set(self._session.scalars(query))

    def is_live(self, job_id: str, attempt: int) -> bool:
        """Return whether a worker may be working on this attempt of the job."""
        live = (JobStatus.RUNNING, JobStatus.CANCELING)
        query = select(Job.id).where(Job.id == job_id, Job.attempt == attempt, Job.status.in_(live))
        return self._session.scalar(query) is not None


def _files_of(job: Job) -> dict[str, int]:
    """Return the sizes in bytes of the job's checkpoint and results, by digest."""
    results = {found["sha256"]: found["bytes"] for found in (job.artifacts or {}).values() if is_described(found)}
    return {job.checkpoint_sha256: job.checkpoint_bytes, **results}


def _has_label(label: Label) -> ColumnElement[bool]:
    other = aliased(JobLabel)
    return exists().where(other.job_id == Job.id, other.key == label.key, other.value == label.value)
