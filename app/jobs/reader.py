"""Finds the jobs that clients poll: one query serves all concurrent polls."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from app.db.transactions import DATABASE_LOST, Sessions, transact
from app.jobs.repository import JobRepository
from app.jobs.schemas import JobView
from app.kit.batching import Batching

_Found = tuple[str, JobView]


class JobReader:
    """Finds jobs for requests of one event loop."""

    def __init__(self, sessions: Sessions, keep_results: timedelta) -> None:
        self._sessions = sessions
        self._keep_results = keep_results
        self._looks = Batching(self._query, unavailable=DATABASE_LOST)

    async def find(self, job_id: str, tenant: str) -> JobView | None:
        """Return the current state of a job, or None if the tenant has no job with this id."""
        found = await self._looks.ask(job_id)
        return found[1] if found is not None and found[0] == tenant else None

    def _query(self, job_ids: Sequence[str]) -> Sequence[_Found | None]:
        """Return each of the jobs with its tenant."""

        def work(session: Session) -> dict[str, _Found]:
            jobs = JobRepository(session).find(set(job_ids))
            return {job.id: (job.tenant, JobView.of(job, self._keep_results)) for job in jobs}

        found = transact(self._sessions, work)
        return [found.get(job_id) for job_id in job_ids]
