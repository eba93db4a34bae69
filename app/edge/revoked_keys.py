"""Ends requests whose key is revoked while they last."""

from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.key_watch import WatchedKey
from app.problems import Problem


class RevokedKeys:
    """Lets nothing more come from or go to a client whose key is not good any more.

    Who sends a body is answered with 401. Who listens or downloads is cut off.
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


class _CutOff(Exception):  # it is no error
    """The answer has begun, and its client is not to have the rest."""


class _Exchange:
    """A request and its answer, as far as they have come."""

    def __init__(self, key: WatchedKey, receive: Receive, send: Send) -> None:
        self.key = key
        self._receive = receive
        self._send = send
        self._received = self._answering = self._sized = self._answered = False

    async def receive(self) -> Message:
        """The next message. Raises `Problem` while a body still comes; later the client counts as gone."""
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
        """Send a message, unless the answer began with a key that is not good any more."""
        if message["type"] == "http.response.start":
            self._answering = self.key.refusal is None
            self._sized = any(name.lower() == b"content-length" for name, _ in message["headers"])
        elif self._answering and self.key.refusal is not None:
            raise _CutOff
        await self._send(message)
        self._answered = message["type"] == "http.response.body" and not message.get("more_body", False)

    async def end(self) -> None:
        """Bring a stream that was cut off to its proper end; what has a size remains visibly incomplete."""
        if self._answering and not self._answered and not self._sized and self.key.refusal is not None:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
