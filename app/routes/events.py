"""Follow the events of a job: as pages, or as a stream of server-sent events."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Header, Query, Response

from app.http.problem_answers import describe
from app.http.whole_numbers import WholeNumber
from app.jobs.events.repository import Position
from app.jobs.events.schemas import EventPage, EventView
from app.jobs.events.stream import MEDIA_TYPE, EventStream
from app.routes.jobs import Jobs, jobs_router
from app.routes.parameters import JobId
from app.services import RequestServices

router = jobs_router()
# Largest number of an event.
_LARGEST = 2**31 - 1
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page or a stream of events.",
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "string",
                    "description": "Events with their number as `id`, their kind as `event` and an EventView as "
                    "`data`; the last one is `end`, with the status of the job.",
                }
            }
        },
    }
}


@router.get(
    "/{job_id}/events",
    summary="Follow the events of a job",
    operation_id="get_job_events",
    response_model=EventPage,
    responses=_EVENTS | describe(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
)
async def get_job_events(
    job_id: JobId,
    services: RequestServices,
    response: Response,
    jobs: Jobs,
    after: Annotated[WholeNumber, Query(ge=0, le=_LARGEST, description="Return events after this number.")] = 0,
    limit: Annotated[WholeNumber, Query(ge=1, le=5000, description="Events per page.")] = 100,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    last_event_id: Annotated[
        WholeNumber | None, Header(ge=0, le=_LARGEST, description="Same as `after`, to resume a stream.")
    ] = None,
) -> EventPage | Response:
    """Events of a job so far. With `Accept: text/event-stream`, also new events, until the job's end.

    If a stream stops before the event `end`, resume it with the last `id` as `Last-Event-ID`.
    """
    await jobs.look(job_id)
    if MEDIA_TYPE in accept:
        position = Position(job_id, after if last_event_id is None else last_event_id)
        stream = EventStream(services.events, services.listeners, position)
        stream.headers["Vary"] = "Accept"
        return stream
    response.headers["Vary"] = "Accept"
    found = [EventView.of(event) for event in await services.events.page(job_id, after, limit + 1)]
    items = found[:limit]
    return EventPage(items=items, next_after=items[-1].number if len(found) > limit else None)
