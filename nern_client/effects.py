"""What an operation asks for, and what it is told.

Operations are generators without any input or output of their own: they yield a request, a pause or work on files,
and are sent what came of it, or it is raised there. All rules are in them, once; `Client` and `AsyncClient` only carry
them out.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

_SECONDS_TO_ANSWER = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the server; names of headers are in lower case. The body is empty where a sink has taken it.

    `proxy` names the proxy that it came through.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    proxy: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the server has done what it was asked for."""
        return 200 <= self.status < 300

    def json(self) -> Any:  # noqa: ANN401 # any JSON value
        """The body as a document."""
        return json.loads(self.body)


class Sink(Protocol):
    """Takes the body of an answer as it arrives."""

    def begin(self, answer: Answer) -> bool:
        """Look at the head; returns whether the body is wanted."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""


@dataclass(frozen=True, slots=True)
class Content:
    """A body to send: its length, and what makes its bytes, anew for every attempt."""

    length: int
    chunks: Callable[[], Iterator[bytes]]

    @classmethod
    def of(cls, data: bytes) -> "Content":
        """Some bytes."""
        return cls(len(data), lambda: iter([data]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Something to ask the server for. What is `repeatable` may be sent again when nobody knows what became of it.

    With `elsewhere` the path is an address that the server has told, and nobody there learns the key.
    """

    method: str
    path: str
    query: Mapping[str, str | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Content | None = None
    sink: Sink | None = None
    repeatable: bool = False
    elsewhere: bool = False
    seconds_to_answer: float = _SECONDS_TO_ANSWER


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Do something that takes a while, such as reading a file; sends back what it returns."""

    call: Callable[[], Any]


class ConnectionLost(Exception):
    """Thrown into an operation that waits for an answer. `sent` is false if the request never left.

    `proxy` names the proxy that it was sent to.
    """

    def __init__(self, reason: str, *, sent: bool, proxy: str | None = None) -> None:
        super().__init__(reason)
        self.sent = sent
        self.proxy = proxy


Result = TypeVar("Result")
Effect: TypeAlias = Request | Pause | Work
Operation: TypeAlias = Generator[Effect, Any, Result]
