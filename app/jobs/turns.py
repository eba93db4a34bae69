"""Turns: which queued job a worker takes, so that a tenant with many jobs does not keep the others waiting.

A message wakes a worker for one job. If a tenant with fewer running jobs waits for the same device, the worker takes
that tenant's oldest job instead. The message of that job finds it taken, and wakes a worker for the one passed over.
"""

from collections.abc import Mapping

from sqlalchemy import func, or_, select

from app.jobs.models import NOT_UNDERSTOOD, Job, JobStatus
from app.jobs.statements import Statements


class Turns(Statements):
    """Queries of workers on queued jobs."""

    def whose_turn(self, job_id: str) -> str:
        """Return the job to take for a message about this one: itself, unless it is another tenant's turn."""
        found = self._session.execute(select(Job.tenant, Job.device, Job.status).where(Job.id == job_id)).one_or_none()
        if found is None:
            return job_id
        oldest, running = self._oldest_queued(found.device), self._running(found.device)
        if not oldest:
            return job_id
        fewest = min(running.get(tenant, 0) for tenant in oldest)
        if found.status == JobStatus.QUEUED and running.get(found.tenant, 0) <= fewest:
            return job_id
        return min(oldest[tenant] for tenant in oldest if running.get(tenant, 0) == fewest)

    def _oldest_queued(self, device: str) -> Mapping[str, str]:
        """Return the oldest queued job of each tenant; ids sort by age."""
        query = select(Job.tenant, func.min(Job.id).label("job_id")).where(
            Job.status == JobStatus.QUEUED, Job.device == device
        )
        understood = query.where(or_(Job.phase.is_(None), Job.phase != NOT_UNDERSTOOD))
        return {row.tenant: row.job_id for row in self._session.execute(understood.group_by(Job.tenant))}

    def _running(self, device: str) -> Mapping[str, int]:
        """Count the running jobs of each tenant."""
        query = select(Job.tenant, func.count().label("jobs")).where(Job.device == device)
        query = query.where(Job.status.in_((JobStatus.RUNNING, JobStatus.CANCELING)))
        return {row.tenant: row.jobs for row in self._session.execute(query.group_by(Job.tenant))}
