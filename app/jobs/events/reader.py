"""Finds new events for all clients that follow jobs, with one query each half second.

A waiting client holds neither a thread nor a database connection. Because events come from the database, a client may
follow a job at any API process, and reconnect to another one.
"""

import asyncio
from collections.abc import Mapping, Sequence

import structlog
from starlette.concurrency import run_in_threadpool

from app.db.transactions import DATABASE_LOST, Sessions, transact
from app.http.request_threads import in_share
from app.jobs.events.models import JobEvent
from app.jobs.events.repository import EventRepository, News, Position

_SECONDS_BETWEEN_LOOKS = 0.5
# Positions per query.
_MOST = 200
_log = structlog.get_logger()


class EventReader:
    """Reads events for the listeners of one event loop."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._waiting: dict[Position, set[asyncio.Future[News | None]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self.stopped = False

    async def page(self, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
        """Return up to `limit` existing events after this number."""
        return await in_share(
            transact, self._sessions, lambda session: EventRepository(session).page(job_id, after, limit)
        )

    async def next(self, position: Position) -> News | None:
        """Wait for the next events, or the end of the job; return None if the service stops."""
        if self.stopped:
            return None
        future: asyncio.Future[News | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(position, set()).add(future)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_again())
        try:
            return await future
        finally:
            self._remove(position, future)

    def stop(self) -> None:
        """End all waits. Call it in the event loop."""
        self.stopped = True
        for position in list(self._waiting):
            self._tell(position, None)

    async def _look_again(self) -> None:
        try:
            while self._waiting:
                positions = list(self._waiting)
                for start in range(0, len(positions), _MOST):
                    await self._look(positions[start : start + _MOST])
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            self._looking = None

    async def _look(self, positions: Sequence[Position]) -> None:
        try:
            found = await run_in_threadpool(self._query, positions)
        except Exception as error:  # noqa: BLE001 # listeners outlive every outage of the database
            _log.warning("events_not_read", error=repr(error))
            if len(positions) > 1 and not isinstance(error, DATABASE_LOST):
                # A failure for one position must not block the others.
                middle = len(positions) // 2
                await self._look(positions[:middle])
                await self._look(positions[middle:])
            return
        for position, news in found.items():
            if news.events or news.complete:
                self._tell(position, news)

    def _query(self, positions: Sequence[Position]) -> Mapping[Position, News]:
        return transact(self._sessions, lambda session: EventRepository(session).news(positions))

    def _tell(self, position: Position, news: News | None) -> None:
        for future in self._waiting.pop(position, ()):
            if not future.done():
                future.set_result(news)

    def _remove(self, position: Position, future: asyncio.Future[News | None]) -> None:
        """Stop looking for a listener that has gone."""
        others = self._waiting.get(position, set())
        others.discard(future)
        if not others:
            self._waiting.pop(position, None)
