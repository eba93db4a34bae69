"""Answers everybody who looks at a job at the same time with one query.

Clients poll, and a query for each of them would take most of what the process can do: several round trips, and a
thread that is woken for each. While one query runs, those who come wait for the next one, so that the fewer
there are, the sooner they are answered, and nobody is told what was true before they asked.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.database import Sessions, transact
from app.jobs.repository import JobRepository
from app.schemas import JobView

# Of one query: SQLite takes no more than 32,766 parameters.
_MOST = 1000
_Asked = dict[str, asyncio.Future[tuple[str, JobView] | None]]


class JobReader:
    """Finds jobs for requests of one event loop."""

    def __init__(self, sessions: Sessions, keep_results: timedelta) -> None:
        self._sessions = sessions
        self._keep_results = keep_results
        self._asked: _Asked = {}
        self._reading: asyncio.Task[None] | None = None

    async def find(self, job_id: str, tenant: str) -> JobView | None:
        """The job as it is now; None: the tenant has none with this id."""
        if job_id not in self._asked:
            self._asked[job_id] = asyncio.get_running_loop().create_future()
        future = self._asked[job_id]
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all())
        # One who goes away does not take the answer from the others.
        found = await asyncio.shield(future)
        return found[1] if found is not None and found[0] == tenant else None

    async def _read_all(self) -> None:
        try:
            while self._asked:
                now = dict(list(self._asked.items())[:_MOST])
                self._asked = {job_id: future for job_id, future in self._asked.items() if job_id not in now}
                await self._read(now)
        finally:
            self._reading = None

    async def _read(self, asked: _Asked) -> None:
        try:
            found = await run_in_threadpool(self._query, asked.keys())
        except Exception as error:  # noqa: BLE001 # it is for those who asked
            for future in asked.values():
                future.set_exception(error)
                # Everybody may have gone.
                future.exception()
        else:
            for job_id, future in asked.items():
                future.set_result(found.get(job_id))

    def _query(self, job_ids: Iterable[str]) -> Mapping[str, tuple[str, JobView]]:
        def work(session: Session) -> dict[str, tuple[str, JobView]]:
            jobs = JobRepository(session).find(job_ids)
            return {job.id: (job.tenant, JobView.of(job, self._keep_results)) for job in jobs}

        return transact(self._sessions, work)
