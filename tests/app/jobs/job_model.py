"""Model of `JobRepository` in plain Python: the same methods on dataclasses in a dictionary."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.jobs.announcements import Waiting
from app.jobs.events.repository import QueueHistory
from app.jobs.kinds import JobKind
from app.jobs.models import TERMINAL, JobStatus
from app.jobs.repository import NewJob
from app.jobs.transitions import Claim

HELD = {JobStatus.RUNNING, JobStatus.CANCELING}


@dataclass
class Row:
    """The columns of a job that change."""

    status: JobStatus
    announce_at: datetime | None
    deadline_at: datetime | None = None
    attempt: int = 0
    releases: int = 0
    announcements: int = 0
    lease_until: datetime | None = None
    phase: str | None = None
    progress: Mapping[str, Any] | None = None
    snapshots: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None
    result_bytes: int = 0
    artifacts: Mapping[str, Any] | None = None
    error_code: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class JobModel:
    """The expected state of the jobs, at the time of `clock`."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.rows: dict[str, Row] = {}
        self._new: dict[str, NewJob] = {}
        self._queued_at: dict[str, datetime] = {}
        self._now = clock

    def add(self, new: NewJob) -> None:
        self._new[new.id] = new
        self._queued_at[new.id] = self._now()
        deadline_at = None if new.deadline is None else self._now() + new.deadline
        self.rows[new.id] = Row(JobStatus.QUEUED, announce_at=self._now(), deadline_at=deadline_at)

    def claim(self, job_id: str, lease: timedelta) -> Claim | None:
        row = self.rows.get(job_id)
        if row is None or row.status is not JobStatus.QUEUED:
            return None
        row.status, row.announce_at, row.lease_until = JobStatus.RUNNING, None, self._now() + lease
        row.attempt += 1
        row.started_at = row.started_at or self._now()
        new = self._new[job_id]
        return Claim(
            kind=JobKind.ENCODING,
            dataset_sha256=None,
            job_id=job_id,
            attempt=row.attempt,
            checkpoint_sha256=new.checkpoint_sha256,
            checkpoint_bytes=new.checkpoint_bytes,
            options=new.options,
            snapshots=row.snapshots or {},
            seconds_left=None if row.deadline_at is None else (row.deadline_at - self._now()).total_seconds(),
            history=QueueHistory(queued_at=self._queued_at[job_id]),
        )

    def heartbeat(
        self, claim: Claim, lease: timedelta, phase: str | None, progress: Mapping[str, Any] | None
    ) -> JobStatus | None:
        row = self._held(claim, *HELD)
        if row is None:
            return None
        row.lease_until, row.phase, row.progress = self._now() + lease, phase, progress
        return row.status

    def keep_snapshots(self, claim: Claim, snapshots: Mapping[str, Any]) -> bool:
        row = self._held(claim, *HELD)
        if row is None:
            return False
        row.snapshots = snapshots
        return True

    def succeed(self, claim: Claim, metrics: Mapping[str, Any], artifacts: Mapping[str, Any]) -> bool:
        row = self._held(claim, JobStatus.RUNNING)
        if row is not None:
            row.metrics, row.artifacts = metrics, artifacts
            row.result_bytes = sum(artifact["bytes"] for artifact in artifacts.values())
        return self._end(row, JobStatus.SUCCEEDED)

    def fail(self, claim: Claim, code: str, message: str) -> bool:
        row = self._held(claim, JobStatus.RUNNING)
        if row is not None:
            row.error_code = code
        return self._end(row, JobStatus.FAILED)

    def try_again(self, claim: Claim, max_attempts: int, code: str, message: str) -> JobStatus | None:
        row = self._held(claim, JobStatus.RUNNING)
        if row is None:
            return None
        if row.attempt - row.releases >= max_attempts:
            row.error_code = code
            self._end(row, JobStatus.FAILED)
        else:
            self._queue_again(row)
        return row.status

    def confirm_cancel(self, claim: Claim) -> bool:
        return self._end(self._held(claim, JobStatus.CANCELING), JobStatus.CANCELED)

    def release(self, claim: Claim) -> bool:
        row = self._held(claim, JobStatus.RUNNING)
        if row is None:
            return False
        row.releases += 1
        self._queue_again(row)
        return True

    def request_cancel(self, job_id: str, tenant: str) -> bool:
        row = self.rows.get(job_id)
        if row is None or row.status in TERMINAL or self._new[job_id].tenant != tenant:
            return False
        if row.status is JobStatus.QUEUED:
            return self._end(row, JobStatus.CANCELED)
        row.status = JobStatus.CANCELING
        return True

    def expire_leases(self, max_attempts: int) -> int:
        lost = [row for row in self.rows.values() if row.lease_until is not None and row.lease_until < self._now()]
        for row in lost:
            if row.status is JobStatus.CANCELING:
                self._end(row, JobStatus.CANCELED)
            elif row.attempt - row.releases >= max_attempts:
                row.error_code = "worker_lost"
                self._end(row, JobStatus.FAILED)
            else:
                self._queue_again(row)
        return len(lost)

    def expire_deadlines(self) -> int:
        waiting = [row for row in self.rows.values() if row.status is JobStatus.QUEUED]
        late = [row for row in waiting if row.deadline_at is not None and row.deadline_at < self._now()]
        for row in late:
            row.error_code = "deadline_exceeded"
            self._end(row, JobStatus.FAILED)
        return len(late)

    def to_announce(self, limit: int) -> Sequence[Waiting]:
        due = [
            (row.announce_at, job_id, row)
            for job_id, row in self.rows.items()
            if row.announce_at is not None and row.announce_at <= self._now()
        ]
        due.sort(key=lambda entry: entry[:2])
        return [Waiting(job_id, self._new[job_id].device, row.announcements, at) for at, job_id, row in due[:limit]]

    def mark_announced(self, announced: Iterable[tuple[Waiting, timedelta]]) -> None:
        for waiting, pause in announced:
            row = self.rows[waiting.job_id]
            if row.announce_at == waiting.announce_at:
                row.announcements, row.announce_at = waiting.announcements + 1, self._now() + pause

    def announce_again(self, job_id: str) -> bool:
        row = self.rows.get(job_id)
        if row is None or row.status is not JobStatus.QUEUED:
            return False
        row.announce_at = self._now()
        return True

    def _held(self, claim: Claim, *statuses: JobStatus) -> Row | None:
        """The row of a claim that still holds its job in one of these statuses."""
        row = self.rows[claim.job_id]
        return row if row.attempt == claim.attempt and row.status in statuses else None

    def _end(self, row: Row | None, status: JobStatus) -> bool:
        if row is None:
            return False
        row.status, row.finished_at = status, self._now()
        row.lease_until = row.announce_at = row.snapshots = None
        return True

    def _queue_again(self, row: Row) -> None:
        self._queued_at.update({job_id: self._now() for job_id, known in self.rows.items() if known is row})
        row.status, row.announce_at = JobStatus.QUEUED, self._now()
        row.lease_until = row.phase = row.progress = None
        row.announcements = 0
