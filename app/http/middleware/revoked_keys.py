"""Ends active requests whose key is revoked."""

from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.key_watch import WatchedKey
from app.kit.problems import Problem


class RevokedKeys:
    """Stops all traffic from and to a client whose key is no longer valid.

    A client that sends a body gets 401. A client that listens or downloads is cut off.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and end it with its key."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(WatchedKey(), receive, send)
        scope.setdefault("state", {})["watched_key"] = exchange.key
        try:
            with suppress(_CutOff):
                await self._app(scope, exchange.receive, exchange.send)
            await exchange.end()
        finally:
            exchange.key.end()


class _CutOff(Exception):  # not an error
    """The response has begun, and its client must not get the rest."""


class _Exchange:
    """A request and its response, as far as they have proceeded."""

    def __init__(self, key: WatchedKey, receive: Receive, send: Send) -> None:
        self.key = key
        self._receive = receive
        self._send = send
        self._received = self._answering = self._sized = self._answered = False

    async def receive(self) -> Message:
        """Return the next message. After a refusal, raise `Problem` during the body; later report a disconnect."""
        try:
            async with self.key.interrupting():
                message = await self._receive()
        except Problem as problem:
            if not self._received or problem is not self.key.refusal:
                raise
            return {"type": "http.disconnect"}
        self._received = self._received or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a message, unless the key was refused after the response began."""
        if message["type"] == "http.response.start":
            self._answering = self.key.refusal is None
            self._sized = any(name.lower() == b"content-length" for name, _ in message["headers"])
        elif self._answering and self.key.refusal is not None:
            raise _CutOff
        await self._send(message)
        self._answered = message["type"] == "http.response.body" and not message.get("more_body", False)

    async def end(self) -> None:
        """End a stream that was cut off properly; a response with a length stays visibly incomplete."""
        if self._answering and not self._answered and not self._sized and self.key.refusal is not None:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
