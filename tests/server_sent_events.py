"""A reader of server-sent events, as the HTML standard has them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One event; without an id where the server gave none."""

    id: str | None
    kind: str
    data: str


def events_of(lines: Iterable[str]) -> Iterator[Event]:
    """The events in the lines of a stream. One that is cut off is none."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                yield Event(fields.get("id"), fields.get("event", "message"), fields["data"])
            fields = {}
            continue
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
