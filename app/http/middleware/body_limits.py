"""Limits on the size and slowness of request bodies.

A client that sends nothing, or very little, cannot hold a connection forever. Only the time that the service waits for
the client counts, not the time that the client waits for the service's disk. A response that does not wait for the end
of the body closes the connection, so that the client stops sending.
"""

import asyncio
from http import HTTPStatus
from time import monotonic

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.body import parse_length
from app.kit.problems import Problem

# Bytes of a body that is not an upload.
LARGEST_DOCUMENT = 2**16
# Clients without a key may send documents too, and hold a connection meanwhile.
_SECONDS_FOR_DOCUMENT = 10.0
_UPLOAD = "nern.upload"


async def accept_upload(request: Request) -> None:
    """Dependency of routes that take a large body, and limit its size themselves.

    Raises `Problem` (`encoded-body`) for a compressed body.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoded-body", "Send the body without a Content-Encoding.")
    request.scope[_UPLOAD] = True


class BodyLimits:
    """Ends a request whose body has an ambiguous length (400), is too large (413), or pauses or is too slow (408).

    A pause is `idle` seconds without data. A body is too slow if, after `idle` seconds, it has less than
    `bytes_per_second` on average.
    """

    def __init__(self, app: ASGIApp, idle: float, bytes_per_second: int) -> None:
        self._app = app
        self._idle = idle
        self._bytes_per_second = bytes_per_second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and watch its body."""
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
    """The body of one request, as far as it has arrived."""

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
        """Return the next message. Raises `Problem` (`body-too-large`, `body-too-slow`)."""
        if self.complete:
            # From here on the client only listens, so there is no time limit.
            return await self._receive()
        self._refuse_size(self._declared)
        message = await self._wait()
        self._received += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        self._refuse_size(self._received)
        if not self.complete and self._waited > self._idle and self._received < self._waited * self._bytes_per_second:
            raise _too_slow(f"The body arrives at less than {self._bytes_per_second:,} bytes per second")
        return message

    async def _wait(self) -> Message:
        start, is_upload = monotonic(), _UPLOAD in self._scope
        patience = self._idle if is_upload else min(self._idle, max(0.0, _SECONDS_FOR_DOCUMENT - self._waited))
        try:
            async with asyncio.timeout(patience):
                return await self._receive()
        except TimeoutError:
            if is_upload or patience == self._idle:
                raise _too_slow(f"No data has arrived for {self._idle:g} seconds") from None
            raise _too_slow(f"The document has not arrived within {_SECONDS_FOR_DOCUMENT:g} seconds") from None
        finally:
            self._waited += monotonic() - start

    def _refuse_size(self, size: int) -> None:
        if size > LARGEST_DOCUMENT and _UPLOAD not in self._scope:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "body-too-large",
                f"The body is over the limit of {LARGEST_DOCUMENT:,} bytes; send a smaller document.",
            )


# A proxy and this server could each follow a different one, and see different requests.
_AMBIGUOUS = Problem(
    HTTPStatus.BAD_REQUEST,
    "ambiguous-length",
    "The request has both Content-Length and Transfer-Encoding; send one of them.",
)


def _too_slow(what: str) -> Problem:
    return Problem(HTTPStatus.REQUEST_TIMEOUT, "body-too-slow", f"{what}; send it again over a faster connection.")
