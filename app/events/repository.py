"""Every query on events. They are written in the transaction that changes the row of their job.

The lock of that row lets one writer after another take the next number. Progress is told ever more rarely the
longer a job runs, so that the longest has about a thousand events.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Integer, String, delete, func, insert, literal, select
from sqlalchemy.orm import Session

from app.events.models import EventKind, JobEvent
from app.jobs.models import TERMINAL, Job, UtcDateTime

_SHORTEST_PAUSE = timedelta(seconds=2)
# After so many events the pause between points of progress is doubled, ten times at most: to half an hour.
_EVENTS_PER_DOUBLING = 100
_MOST_DOUBLINGS = 10
# After one position, and in one answer about many.
MOST_EVENTS = 200
_MOST_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Position:
    """Where somebody is who follows a job: after the event of this number."""

    job_id: str
    after: int


@dataclass(frozen=True, slots=True)
class News:
    """What comes after a position, 200 events at most, and the status of the job; None: there is no such job."""

    events: Sequence[JobEvent]
    status: str | None

    @property
    def complete(self) -> bool:
        """Whether nothing will come after these events."""
        return len(self.events) < MOST_EVENTS and (self.status is None or self.status in TERMINAL)


@dataclass(frozen=True, slots=True)
class QueueHistory:
    """The span of the request that has queued a job, if it was traced, and when the job was last queued."""

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
        """Add a point of progress, unless the event before it is too young."""
        query = select(JobEvent.number, JobEvent.time).where(JobEvent.job_id == job_id)
        last = self._session.execute(query.order_by(JobEvent.number.desc()).limit(1)).one_or_none()
        if last is None or time >= last.time + pause_after(last.number):
            self.add(job_id, EventKind.PROGRESS, time, progress)

    def page(self, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
        """The events after this number."""
        query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.number > after)
        return self._session.scalars(query.order_by(JobEvent.number).limit(limit)).all()

    def queue_history(self, job_id: str) -> QueueHistory:
        """How a job came into the queue."""
        query = select(JobEvent.time, JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.kind == EventKind.QUEUED)
        found = self._session.execute(query.order_by(JobEvent.number)).all()
        return QueueHistory(found[0].data.get("traceparent"), found[-1].time) if found else QueueHistory()

    def news(self, positions: Iterable[Position]) -> Mapping[Position, News]:
        """What there is after the positions: one query, and one more for each position that is behind.

        Where that is much, some of the positions get theirs later: they are not in the answer.
        """
        asked = list(positions)
        # A join with the events would be quicker on paper; PostgreSQL reads the whole table for it.
        last = select(func.max(JobEvent.number)).where(JobEvent.job_id == Job.id).scalar_subquery()
        query = select(Job.id, Job.status, last).where(Job.id.in_({position.job_id for position in asked}))
        heads = {job_id: (status, number or 0) for job_id, status, number in self._session.execute(query)}
        found, size = {}, 0
        for position in asked:
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
    """The shortest time between an event of this number and a point of progress: doubled with every 100 events."""
    return _SHORTEST_PAUSE * (1 << min(number // _EVENTS_PER_DOUBLING, _MOST_DOUBLINGS))
