"""Request bodies: how large they may be, and how slow.

Who sends nothing, or next to nothing, does not hold a connection for ever. What counts is the time that
the service waits for the client; a client that waits for the service's disk is not slow. An answer that
does not wait for the end of the body closes the connection, so that nobody goes on sending to nobody.
"""

import asyncio
from http import HTTPStatus
from time import monotonic

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.body import parse_length
from app.problems import Problem

# Of what is no upload.
LARGEST_DOCUMENT = 2**16
# Whoever has no key may send documents too, and holds a connection meanwhile.
_SECONDS_FOR_DOCUMENT = 10.0
_UPLOAD = "nern.upload"


async def accept_upload(request: Request) -> None:
    """What a route depends on that takes a large body, and limits its size itself."""
    request.scope[_UPLOAD] = True


class Bodies:
    """Ends a request whose body has no clear length (400), is too large (413), or pauses or is too slow (408).

    A pause is one of `idle` seconds. Too slow is what comes with less than `bytes_per_second` on average, from
    `idle` seconds on.
    """

    def __init__(self, app: ASGIApp, idle: float, bytes_per_second: int) -> None:
        self._app = app
        self._idle = idle
        self._bytes_per_second = bytes_per_second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body under watch."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, self._idle, self._bytes_per_second)

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.complete:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        if body.ambiguous:
            await _AMBIGUOUS.response()(scope, receive, send_and_close)
            return
        await self._app(scope, body.receive, send_and_close)


class _Body:
    """The body of one request, as far as it has come."""

    def __init__(self, scope: Scope, receive: Receive, idle: float, bytes_per_second: int) -> None:
        headers = Headers(scope=scope)
        self._scope = scope
        self._receive = receive
        self._idle = idle
        self._bytes_per_second = bytes_per_second
        self._declared = parse_length(headers.get("content-length", ""))
        self._waited = 0.0
        self._received = 0
        chunked = "transfer-encoding" in headers
        self.complete = not self._declared and not chunked
        self.ambiguous = chunked and "content-length" in headers

    async def receive(self) -> Message:
        """The next message. Raises `Problem` (`body-too-large`, `body-too-slow`)."""
        if self.complete:
            # From here on the client has only to listen, for as long as the answer takes.
            return await self._receive()
        self._refuse_size(self._declared)
        message = await self._wait()
        self._received += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        self._refuse_size(self._received)
        if not self.complete and self._waited > self._idle and self._received < self._waited * self._bytes_per_second:
            raise _too_slow(f"The body comes with less than {self._bytes_per_second:,} bytes a second")
        return message

    async def _wait(self) -> Message:
        start, is_upload = monotonic(), _UPLOAD in self._scope
        patience = self._idle if is_upload else min(self._idle, max(0.0, _SECONDS_FOR_DOCUMENT - self._waited))
        try:
            async with asyncio.timeout(patience):
                return await self._receive()
        except TimeoutError:
            if is_upload or patience == self._idle:
                raise _too_slow(f"Nothing has come for {self._idle:g} seconds") from None
            raise _too_slow(f"The document has not come within {_SECONDS_FOR_DOCUMENT:g} seconds") from None
        finally:
            self._waited += monotonic() - start

    def _refuse_size(self, size: int) -> None:
        if size > LARGEST_DOCUMENT and _UPLOAD not in self._scope:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "body-too-large",
                f"This address takes {LARGEST_DOCUMENT:,} bytes at most; send a smaller document.",
            )


# Two servers in a row that believe different ones would see different requests.
_AMBIGUOUS = Problem(
    HTTPStatus.BAD_REQUEST,
    "ambiguous-length",
    "The request has both Content-Length and Transfer-Encoding; send one of them.",
)


def _too_slow(what: str) -> Problem:
    return Problem(HTTPStatus.REQUEST_TIMEOUT, "body-too-slow", f"{what}; send it again over a faster connection.")
