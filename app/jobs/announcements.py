"""The outbox of jobs: which of them the broker is to be told of, and when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update

from app.jobs.models import Job, JobStatus
from app.jobs.statements import Statements


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job that the broker is to be told of, as it was seen: due at `announce_at`."""

    job_id: str
    device: str
    announcements: int
    announce_at: datetime


class Announcements(Statements):
    """Queued jobs, as the relay sees them."""

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
