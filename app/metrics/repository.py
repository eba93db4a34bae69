"""Queries for the metrics. Callers own the transaction."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.transactions import current_time
from app.jobs.models import NOT_UNDERSTOOD, Job, JobStatus

ACTIVE = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELING)
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class ActiveJobs:
    """Count of the jobs of a status and a device, and the age of the oldest."""

    status: str
    device: str
    count: int
    oldest: timedelta


@dataclass(frozen=True, slots=True)
class EndedJob:
    """Fields of an ended job that the metrics use."""

    id: str
    kind: str
    status: str
    device: str
    error_code: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime
    metrics: Mapping[str, Any] | None


class MetricsRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def now(self) -> datetime:
        """Return the time of the database's clock."""
        return current_time(self._session)

    def active(self) -> list[ActiveJobs]:
        """Count the jobs that have not ended."""
        now, oldest = self.now(), func.min(Job.created_at)
        query = (
            select(Job.status, Job.device, func.count(), oldest)
            .where(Job.status.in_(ACTIVE))
            .group_by(Job.status, Job.device)
        )
        return [
            ActiveJobs(status, device, count, now - at) for status, device, count, at in self._session.execute(query)
        ]

    def not_understood(self) -> int:
        """Count the queued jobs that need a worker of another release."""
        query = select(func.count()).where(Job.status == JobStatus.QUEUED, Job.phase == NOT_UNDERSTOOD)
        return self._session.scalars(query).one()

    def ended_since(self, moment: datetime) -> Iterator[EndedJob]:
        """Iterate over the jobs that ended since then, in the order of their ends."""
        query = (
            select(
                Job.id,
                Job.kind,
                Job.status,
                Job.device,
                Job.error_code,
                Job.created_at,
                Job.started_at,
                Job.finished_at,
                Job.metrics,
            )
            # Both values are listed so that the index, which begins with this column, is used.
            .where(Job.data_removed.in_((False, True)), Job.finished_at >= moment)
            .order_by(Job.finished_at)
            .execution_options(yield_per=_ROWS_AT_ONCE)
        )
        for row in self._session.execute(query):
            yield EndedJob(*row)
