"""A reader of server-sent events, as in the HTML standard."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One event; the id is None if the server sent none."""

    id: str | None
    kind: str
    data: str


def events_of(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events in the lines of a stream; an incomplete last event is dropped."""
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
