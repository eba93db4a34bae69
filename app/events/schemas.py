"""What the API says of events."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from app.events.models import EventKind, JobEvent


class EventView(BaseModel):
    """One event of a job."""

    number: Annotated[int, Field(description="Of the job's first event it is 1.")]
    kind: Annotated[
        EventKind | SkipJsonSchema[str],
        Field(description="The status that the job has taken, or `progress`."),
    ]
    time: datetime
    data: Annotated[
        dict[str, Any],
        Field(
            description="Of a status `attempt`, and `reason` where the job was queued again or `code` and `message` "
            "where it failed; of the first one `traceparent` where requests are traced; of progress the `phase` and "
            "what `progress` of the job has."
        ),
    ]

    @classmethod
    def of(cls, event: JobEvent) -> Self:
        """The view of a row."""
        return cls(number=event.number, kind=event.kind, time=event.time, data=event.data)


class EventPage(BaseModel):
    """Some events, in the order in which they happened. `next_after` leads to those after them; null: none yet."""

    items: list[EventView]
    next_after: int | None
