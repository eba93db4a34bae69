"""What is traced with, whoever listens.

A span's parent is a `traceparent` (W3C Trace Context) and no object, since most parents are in another process.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """Something that has begun."""

    @property
    def traceparent(self) -> str | None:
        """What spans within this one name as their parent; None: nobody listens."""

    def rename(self, name: str) -> None:
        """Give it a name that was not known when it began."""

    def note(self, attributes: Attributes) -> None:
        """Say more about it."""

    def fail(self, reason: str) -> None:
        """It has gone wrong."""


class Tracer(Protocol):
    """Tells of spans."""

    def request(self, name: str, parent: str | None, attributes: Attributes) -> AbstractContextManager[Span]:
        """A request that is answered until the end of the `with`."""

    def job(self, name: str, parent: str | None, attributes: Attributes) -> AbstractContextManager[Span]:
        """Work on what a message has asked for, until the end of the `with`."""

    def part(self, name: str, parent: str | None, start: float, end: float) -> None:
        """Something that is over; the times are the clock's, in seconds."""

    def stop(self) -> None:
        """Tell what has not been told yet."""


class SilentTracer:
    """A tracer that nobody listens to. What it is told of the parent is handed on."""

    @contextmanager
    def request(self, name: str, parent: str | None, attributes: Attributes) -> Iterator[Span]:
        """Nothing but the `with`."""
        yield _SilentSpan(parent)

    job = request

    def part(self, name: str, parent: str | None, start: float, end: float) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class _SilentSpan:
    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def rename(self, name: str) -> None:
        pass

    def note(self, attributes: Attributes) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass
