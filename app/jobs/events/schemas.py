"""The API's representation of events."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from app.jobs.events.models import EventKind, JobEvent


class EventView(BaseModel):
    """One event of a job."""

    number: Annotated[int, Field(description="Number of the event, from 1.")]
    kind: Annotated[
        EventKind | SkipJsonSchema[str],
        Field(description="The job's new status, or `progress`."),
    ]
    time: datetime
    data: Annotated[
        dict[str, Any],
        Field(
            description="For a status: `attempt`; `reason` if the job was queued again; `code` and `message` if it "
            "failed; in the first event `traceparent` if requests are traced. For progress: `phase`, and the fields of "
            "the job's `progress`."
        ),
    ]

    @classmethod
    def of(cls, event: JobEvent) -> Self:
        """Return the view of a row."""
        return cls(number=event.number, kind=event.kind, time=event.time, data=event.data)


class EventPage(BaseModel):
    """A page of events, in order. `next_after` leads to the next page; null if there are no more events yet."""

    items: list[EventView]
    next_after: int | None
