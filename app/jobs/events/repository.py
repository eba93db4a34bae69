"""Queries on events. Events are written in the transaction that changes the row of their job.

The lock of that row lets only one writer at a time take the next number. Progress events become rarer the longer a job
runs, so that the longest job has about a thousand events.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Integer, String, delete, func, insert, literal, select
from sqlalchemy.orm import Session

from app.db.base import UtcDateTime
from app.jobs.events.models import EventKind, JobEvent
from app.jobs.models import TERMINAL, Job
from app.kit.backoff import Backoff

# The pause between progress events doubles after this many events.
_EVENTS_PER_DOUBLING = 100
_BACKOFF = Backoff(first=timedelta(seconds=2), longest=timedelta(seconds=2048))
# Limits of events for one position, and for one answer about many positions.
MOST_EVENTS = 200
_MOST_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Position:
    """A listener's position in a job: after the event of this number."""

    job_id: str
    after: int


@dataclass(frozen=True, slots=True)
class News:
    """Up to 200 events after a position, and the status of the job, None if the job does not exist."""

    events: Sequence[JobEvent]
    status: str | None

    @property
    def complete(self) -> bool:
        """True if no events will follow these."""
        return len(self.events) < MOST_EVENTS and (self.status is None or self.status in TERMINAL)


@dataclass(frozen=True, slots=True)
class QueueHistory:
    """The span of the request that queued a job, if it was traced, and the time when the job was last queued."""

    traceparent: str | None = None
    queued_at: datetime | None = None


class EventRepository:
    """Queries of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, job_id: str, kind: EventKind, time: datetime, data: Mapping[str, Any]) -> None:
        """Add the next event of a job, whose row this transaction has changed."""
        number = func.coalesce(func.max(JobEvent.number), 0) + literal(1, Integer())
        event = select(
            literal(job_id, String()),
            number,
            literal(kind.value, String()),
            literal(time, UtcDateTime()),
            literal(dict(data), JSON()),
        ).where(JobEvent.job_id == job_id)
        self._session.execute(insert(JobEvent).from_select(["job_id", "number", "kind", "time", "data"], event))

    def add_progress(self, job_id: str, time: datetime, progress: Mapping[str, Any]) -> None:
        """Add a progress event, unless the previous event is too recent."""
        query = select(JobEvent.number, JobEvent.time).where(JobEvent.job_id == job_id)
        last = self._session.execute(query.order_by(JobEvent.number.desc()).limit(1)).one_or_none()
        if last is None or time >= last.time + pause_after(last.number):
            self.add(job_id, EventKind.PROGRESS, time, progress)

    def page(self, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
        """Return up to `limit` events after this number."""
        query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.number > after)
        return self._session.scalars(query.order_by(JobEvent.number).limit(limit)).all()

    def queue_history(self, job_id: str) -> QueueHistory:
        """Return the queue history of a job."""
        query = select(JobEvent.time, JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.kind == EventKind.QUEUED)
        found = self._session.execute(query.order_by(JobEvent.number)).all()
        return QueueHistory(found[0].data.get("traceparent"), found[-1].time) if found else QueueHistory()

    def news(self, positions: Iterable[Position]) -> Mapping[Position, News]:
        """Return the events after the positions: one query, and one more for each position that is behind.

        If there are more than 2,000 events, some positions are left out and get theirs later.
        """
        wanted = list(positions)
        # Not a join with the events, because PostgreSQL reads the whole table for it.
        last = select(func.max(JobEvent.number)).where(JobEvent.job_id == Job.id).scalar_subquery()
        query = select(Job.id, Job.status, last).where(Job.id.in_({position.job_id for position in wanted}))
        heads = {job_id: (status, number or 0) for job_id, status, number in self._session.execute(query)}
        found, size = {}, 0
        for position in wanted:
            status, number = heads.get(position.job_id, (None, 0))
            is_behind = number > position.after
            if is_behind and size >= _MOST_AT_ONCE:
                continue
            events = self.page(position.job_id, position.after, MOST_EVENTS) if is_behind else []
            found[position] = News(events, status)
            size += len(events)
        return found

    def forget(self, job_ids: Iterable[str]) -> None:
        """Delete the events of these jobs."""
        self._session.execute(delete(JobEvent).where(JobEvent.job_id.in_(list(job_ids))))


def pause_after(number: int) -> timedelta:
    """Return the minimum time between an event of this number and a progress event: it doubles every 100 events."""
    return _BACKOFF.pause(number // _EVENTS_PER_DOUBLING)
