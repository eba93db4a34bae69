"""Events of a job as server-sent events, until the job's end.

The `id` of an event is its number, so that a client can resume with `Last-Event-ID`. The last event, `end`, has no `id`
and is not stored: it tells the client not to reconnect.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.jobs.events.listener_limit import ListenerLimit
from app.jobs.events.reader import EventReader
from app.jobs.events.repository import News, Position
from app.jobs.events.schemas import EventView
from app.kit.tenants import tenant_of_request

MEDIA_TYPE = "text/event-stream"
_MILLISECONDS_TO_COME_BACK = 2000
_SECONDS_BETWEEN_COMMENTS = 15.0
# Then the client reconnects by itself, and its key is checked again.
_LONGEST_SECONDS = 900.0
_SECONDS_TO_TAKE = 60.0
_COMMENT = ": waiting\n\n"


class EventStream(StreamingResponse):
    """Response that follows a job, and holds one of the places meanwhile."""

    def __init__(self, reader: EventReader, listeners: ListenerLimit, position: Position) -> None:
        self._listeners, self._tenant = listeners, tenant_of_request.get()
        # A buffering proxy would delay the events.
        super().__init__(follow(reader, position), media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Raises `Problem` (`too-many-listeners`) before anything is sent."""
        with self._listeners.taken(self._tenant), suppress(TimeoutError):
            # A client that reads nothing does not hold the place forever.
            async with asyncio.timeout(_LONGEST_SECONDS + _SECONDS_TO_TAKE):
                await super().__call__(scope, receive, send)


async def follow(reader: EventReader, position: Position) -> AsyncIterator[str]:
    """Generate the text of the stream from this position."""
    yield f"retry: {_MILLISECONDS_TO_COME_BACK}\n\n"
    ends_at = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < ends_at:
        try:
            async with asyncio.timeout(_SECONDS_BETWEEN_COMMENTS):
                news = await reader.next(position)
        except TimeoutError:
            yield _COMMENT
            continue
        if news is None:
            return
        yield _text(news)
        if news.complete:
            return
        position = Position(position.job_id, news.events[-1].number)


def _text(news: News) -> str:
    parts = []
    for event in news.events:
        view = EventView.of(event)
        parts.append(f"id: {view.number}\nevent: {view.kind}\ndata: {view.model_dump_json()}\n\n")
    if news.complete:
        parts.append(f"event: end\ndata: {json.dumps({'status': news.status})}\n\n")
    return "".join(parts)
