"""Effects: what operations yield and receive.

Operations are generators without any input or output of their own. They yield a request, a pause or work on files;
the result is sent back into them, an error is raised in them. All rules are in the operations, once; `Client` and
`AsyncClient` only carry out the effects.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

_SECONDS_TO_ANSWER = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the server; header names are in lower case. The body is empty if a sink has taken it.

    `proxy` names the proxy that the answer came through.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    proxy: str | None = None

    @property
    def succeeded(self) -> bool:
        """True for a 2xx status."""
        return 200 <= self.status < 300

    def json(self) -> Any:  # noqa: ANN401 # any JSON value
        """Parse the body as JSON."""
        return json.loads(self.body)


class Sink(Protocol):
    """Takes the body of an answer as it arrives."""

    def begin(self, answer: Answer) -> bool:
        """Inspect status and headers; return true to receive the body."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""


@dataclass(frozen=True, slots=True)
class Content:
    """A body to send: its length, and a function that yields its bytes from the start for every attempt."""

    length: int
    chunks: Callable[[], Iterator[bytes]]

    @classmethod
    def of(cls, data: bytes) -> "Content":
        """Create a body of these bytes."""
        return cls(len(data), lambda: iter([data]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to the server. A `repeatable` one may be sent again if the outcome is unknown.

    With `elsewhere`, the path is an address on another host that the server redirects to; the key is not sent there.
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
    """Wait for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Make a call that takes a while, such as reading a file; its return value is sent back."""

    call: Callable[[], Any]


class ConnectionLost(Exception):
    """Raised in an operation that waits for an answer. `sent` is false if the request was not sent at all.

    `proxy` names the proxy that was used.
    """

    def __init__(self, reason: str, *, sent: bool, proxy: str | None = None) -> None:
        super().__init__(reason)
        self.sent = sent
        self.proxy = proxy


Result = TypeVar("Result")
Effect: TypeAlias = Request | Pause | Work
Operation: TypeAlias = Generator[Effect, Any, Result]
