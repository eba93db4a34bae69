"""The parser of HTTP/1.1 requests, with bounds on the work that a few bytes can cause.

h11 makes Python objects of every header field and every chunk of a body, about 10 µs each, in the event loop, while
its own limit and flow control count bytes alone. A field takes 3 bytes and a chunk 6.
"""

from http import HTTPStatus

import h11
from h11._receivebuffer import ReceiveBuffer, blank_line_regex

from app.kit.problems import Problem

# Of the request line and all headers.
LARGEST_HEAD = 64 * 2**10
# Of a head, or of the trailer after the last chunk. Clients and proxies send about 30.
MOST_FIELDS = 100
# Of a body, whatever their sizes: a small document may come word by word.
FREE_CHUNKS = 256
# Bytes of the body required per further chunk. A client that writes 1 KiB at a time passes.
SMALLEST_MEAN_CHUNK = 512
# The request line, and the blank line at the end.
_OTHER_LINES = 2


_MALFORMED = Problem(
    HTTPStatus.BAD_REQUEST,
    "malformed-request",
    "The request is not valid HTTP/1.1; check its request line, its headers and the framing of its body.",
)
_HEAD_TOO_LARGE = Problem(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "headers-too-large",
    f"The request has more than {MOST_FIELDS} headers, or more than {LARGEST_HEAD:,} bytes of them; send fewer.",
)
_CHUNKS_TOO_SMALL = Problem(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "chunks-too-small",
    f"The body has more than {FREE_CHUNKS} chunks of less than {SMALLEST_MEAN_CHUNK} bytes on average; send larger "
    "chunks, or a Content-Length.",
)


class BoundedConnection(h11.Connection):
    """The server's side of a connection. `refusal` is the answer to a request that it has refused to parse."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, LARGEST_HEAD)
        self.refusal = _MALFORMED
        self._receive_buffer = _BoundedLines()
        self._chunks = self._body_bytes = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Parse the next event. Raises `h11.RemoteProtocolError` for a malformed or too expensive request."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == _HEAD_TOO_LARGE.details.status:
                self.refusal = _HEAD_TOO_LARGE
            raise
        if isinstance(event, h11.Request):
            self._chunks = self._body_bytes = 0
        elif isinstance(event, h11.Data):
            self._count(event)
        return event

    def _count(self, data: h11.Data) -> None:
        self._chunks += data.chunk_start
        self._body_bytes += len(data.data)
        if self._chunks > FREE_CHUNKS + self._body_bytes // SMALLEST_MEAN_CHUNK:
            self.refusal = _CHUNKS_TOO_SMALL
            raise h11.RemoteProtocolError("chunks are too small", error_status_hint=self.refusal.details.status)


class _BoundedLines(ReceiveBuffer):
    """The bytes that have come and are not parsed yet; lines are counted before they become objects."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Extract the lines of a head or a trailer if all have come. Raises `h11.LocalProtocolError` for too many."""
        most = MOST_FIELDS + _OTHER_LINES
        # The search for the end of the head is slow, and most requests have few lines, those of their body included.
        if self._data.count(b"\n") > most:
            blank = blank_line_regex.search(self._data)
            if self._data.count(b"\n", 0, None if blank is None else blank.end()) > most:
                raise h11.LocalProtocolError(
                    "too many header fields", error_status_hint=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                )
        return super().maybe_extract_lines()
