"""Finds what is new for everybody who follows a job: one query each half second tells for all of them who has news.

Who waits holds neither a thread nor a connection to the database. Since it is the database that is read, it does not
matter which of several API processes somebody follows a job at, or was connected to before.
"""

import asyncio
from collections.abc import Mapping, Sequence

import structlog
from starlette.concurrency import run_in_threadpool

from app.database import DATABASE_LOST, Sessions, transact
from app.events.models import JobEvent
from app.events.repository import EventRepository, News, Position
from app.request_threads import in_share

# Under this name the server finds, in the state of the lifespan, what it calls as soon as it is to stop.
AT_STOP = "nern.at_stop"
_SECONDS_BETWEEN_LOOKS = 0.5
# Positions of one query.
_MOST = 200
_log = structlog.get_logger()


class EventReader:
    """Reads for the listeners of one event loop."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._waiting: dict[Position, set[asyncio.Future[News | None]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self.stopped = False

    async def page(self, job_id: str, after: int, limit: int) -> Sequence[JobEvent]:
        """The events after this number that there are now."""
        return await in_share(
            transact, self._sessions, lambda session: EventRepository(session).page(job_id, after, limit)
        )

    async def next(self, position: Position) -> News | None:
        """Wait for the next news, or for the end of what can come; None if the service stops."""
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
        """Let everybody go who waits. Call it in the event loop."""
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
                # What fails for one of them must not keep the others from their news.
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
        """Nobody looks any more for one who has gone away."""
        others = self._waiting.get(position, set())
        others.discard(future)
        if not others:
            self._waiting.pop(position, None)
