"""The answer to an outbound request: bounded in size, in time, and in the work that its bytes can cause."""

import http.client
import math
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Timer
from time import monotonic
from typing import Self

from app.outbound.errors import OutboundError

_BLOCK_BYTES = 64 * 2**10
# A block that takes longer is handed on with fewer bytes.
_SECONDS_OF_BLOCK = 1.0
# Pieces of any size; each further one must be paid for by 512 bytes. TCP itself makes pieces of 536 bytes and more.
_FREE_PIECES = 256
_SMALLEST_MEAN_PIECE = 512
_MOST_STATUS_LINES = 8


@dataclass(frozen=True, slots=True)
class Pace:
    """The slowest body that is accepted: its longest pause in seconds, and its mean after that time."""

    idle: float = math.inf
    bytes_per_second: float = 0.0


class Response(http.client.HTTPResponse):
    """An HTTP response without the parts that `http.client` reads in unbounded loops."""

    _status_lines = 0

    def _read_status(self) -> tuple[str, int, str]:
        self._status_lines += 1
        if self._status_lines > _MOST_STATUS_LINES:
            raise http.client.HTTPException("too many interim responses")
        found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc] # not public
        return found

    def _read_and_discard_trailer(self) -> None:
        """Leave the trailer unread, because no other response follows on the connection."""


class Answer:
    """The response; `chunks` reads its body."""

    def __init__(
        self, response: http.client.HTTPResponse, deadline: "Deadline", max_bytes: int, pace: Pace | None = None
    ) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._deadline = deadline
        self._max_bytes = max_bytes
        self._pace = pace or Pace()
        self._waited = 0.0

    def chunks(self) -> Iterator[bytes]:
        """Iterate over the body in blocks. Raises `OutboundError` if it is too large, too slow or incomplete."""
        self._deadline.limit_pause(self._pace.idle)
        block, read, pieces, due = bytearray(), 0, 0, monotonic() + _SECONDS_OF_BLOCK
        while piece := self._next():
            read, pieces = read + len(piece), pieces + 1
            self._check(read, pieces)
            block += piece
            if len(block) >= _BLOCK_BYTES or monotonic() >= due:
                yield bytes(block)
                block.clear()
                due = monotonic() + _SECONDS_OF_BLOCK
        if self._deadline.over:
            raise self._deadline.error()
        if self._response.length:
            raise OutboundError("The answer is incomplete because the connection was lost; try again.")
        if block:
            yield bytes(block)

    def _check(self, read: int, pieces: int) -> None:
        if read > self._max_bytes:
            raise OutboundError(f"The answer is larger than the limit of {self._max_bytes:,} bytes.")
        if pieces > _FREE_PIECES + read // _SMALLEST_MEAN_PIECE:
            raise OutboundError(
                f"The server sends its answer in pieces of less than {_SMALLEST_MEAN_PIECE} bytes; use one that sends "
                "larger pieces."
            )
        if self._waited > self._pace.idle and read < self._waited * self._pace.bytes_per_second:
            raise OutboundError(
                f"The server sends less than {self._pace.bytes_per_second:,.0f} bytes per second; use a faster one."
            )

    def _next(self) -> bytes:
        start = monotonic()
        try:
            return self._response.read1(_BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._deadline.error(error) from error
        finally:
            self._waited += monotonic() - start


class Deadline:
    """Ends a connection at its deadline, because the socket's own timeout restarts with every byte."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.over = False
        self._connection = connection
        self._seconds = seconds
        self._pause = math.inf
        self._timer = Timer(seconds, self.end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()

    def limit_pause(self, seconds: float) -> None:
        """Limit the time in which nothing is received."""
        if seconds < self._seconds:
            self._pause = seconds
            self._connection.settimeout(seconds)

    def error(self, cause: Exception | None = None) -> OutboundError:
        """Return the error of the request: the deadline, if it has passed, or else the cause."""
        paused = isinstance(cause, TimeoutError)
        # Without a limit for pauses, the socket's timeout is the deadline's, and may come first.
        if self.over or (paused and self._pause == math.inf):
            return OutboundError(f"The answer took longer than {self._seconds:.3g} seconds; try again.")
        if paused:
            return OutboundError(f"The server has sent nothing for {self._pause:.3g} seconds; try again.")
        return OutboundError(f"The request has failed: {_reason(cause)}; try again.")

    def end(self) -> None:
        """End the connection now."""
        self.over = True
        with suppress(OSError):
            # Not the method of the TLS socket, after which reads would continue without TLS.
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)


def _reason(cause: Exception | None) -> str:
    """Describe an error in words, not as Python does."""
    match cause:
        case ssl.SSLError():
            return f"TLS reports {cause.reason or 'an error'}"
        case http.client.IncompleteRead() | ConnectionError():
            return "the server has closed the connection"
        case OSError():
            return (cause.strerror or "the connection is lost").lower()
        case _:
            return "the server's answer is not valid HTTP"
