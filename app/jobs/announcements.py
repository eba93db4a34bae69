"""Outbox of jobs: which queued jobs to announce to the broker, and when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update

from app.jobs.models import Job, JobStatus
from app.jobs.statements import Statements


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job to announce to the broker, as it was read: due at `announce_at`."""

    job_id: str
    device: str
    announcements: int
    announce_at: datetime


class Announcements(Statements):
    """Queries of the relay on queued jobs."""

    def to_announce(self, limit: int) -> Sequence[Waiting]:
        """Return up to `limit` queued jobs that are due to be announced, longest due first."""
        query = (
            select(Job.id, Job.device, Job.announcements, Job.announce_at)
            .where(Job.status == JobStatus.QUEUED, Job.announce_at <= self.now())
            .order_by(Job.announce_at, Job.id)
            .limit(limit)
        )
        rows = self._session.execute(query)
        return [Waiting(row.id, row.device, row.announcements, row.announce_at) for row in rows]

    def mark_announced(self, announced: Iterable[tuple[Waiting, timedelta]]) -> None:
        """Record that these jobs were announced; if they stay queued, they are due again after the pause.

        A job that was queued again in the meantime stays due, because it needs a new message.
        """
        now = self.now()
        for waiting, pause in announced:
            self._session.execute(
                update(Job)
                .where(Job.id == waiting.job_id, Job.announce_at == waiting.announce_at)
                .values(announcements=waiting.announcements + 1, announce_at=now + pause)
            )

    def announce_again(self, job_id: str) -> bool:
        """Make a queued job due now, because its message reached no worker that will run it."""
        queued = update(Job).where(Job.id == job_id, Job.status == JobStatus.QUEUED)
        return self._hit(queued.values(announce_at=self.now()))
