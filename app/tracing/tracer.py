"""Interface of tracers, and the tracer that does nothing.

A span's parent is a `traceparent` (W3C Trace Context), not an object, because most parents are in another process.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """A span that has begun."""

    @property
    def traceparent(self) -> str | None:
        """Parent to set for spans within this one; None without a collector."""

    def rename(self, name: str) -> None:
        """Set a name that was not known at the beginning."""

    def note(self, attributes: Attributes) -> None:
        """Add attributes."""

    def fail(self, reason: str) -> None:
        """Mark the span as failed."""


class Tracer(Protocol):
    """Creates spans."""

    def request(self, name: str, parent: str | None, attributes: Attributes) -> AbstractContextManager[Span]:
        """Span of a request, until the end of the `with`."""

    def job(self, name: str, parent: str | None, attributes: Attributes) -> AbstractContextManager[Span]:
        """Span of work for a message, until the end of the `with`."""

    def part(self, name: str, parent: str | None, start: float, end: float) -> None:
        """Record a finished span; times are seconds of the system clock."""

    def stop(self) -> None:
        """Send the remaining spans."""


class SilentTracer:
    """Tracer without a collector. It passes on the parent."""

    @contextmanager
    def request(self, name: str, parent: str | None, attributes: Attributes) -> Iterator[Span]:
        """Yield a span that records nothing."""
        yield _SilentSpan(parent)

    job = request

    def part(self, name: str, parent: str | None, start: float, end: float) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class _SilentSpan:
    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def rename(self, name: str) -> None:
        pass

    def note(self, attributes: Attributes) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass
