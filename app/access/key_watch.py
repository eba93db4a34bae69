"""Ends long requests when their key is revoked or expires: streams, waiting polls, uploads, fetches, downloads.

The keys of all active requests are looked up together, twice a second, so a request ends within a second.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from starlette.concurrency import run_in_threadpool

from app.access.caller import Caller
from app.access.token import Token
from app.kit.problems import Problem

_SECONDS_BETWEEN_LOOKS = 0.5
_log = structlog.get_logger()


class KeyWatch:
    """Looks up the keys of the requests of one event loop."""

    def __init__(self, authenticate_all: Callable[[Sequence[Token]], Sequence[Caller | Problem]]) -> None:
        self._authenticate_all = authenticate_all
        self._watched: dict[Token, set[WatchedKey]] = {}
        self._looking: asyncio.Task[None] | None = None

    def add(self, watched: "WatchedKey", token: Token) -> None:
        """Watch the key of a request until `remove`."""
        self._watched.setdefault(token, set()).add(watched)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_again())

    def remove(self, watched: "WatchedKey", token: Token) -> None:
        """Stop watching the key of a request that is over."""
        requests = self._watched.get(token, set())
        requests.discard(watched)
        if not requests:
            self._watched.pop(token, None)

    async def _look_again(self) -> None:
        try:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            while self._watched:
                await self._look(list(self._watched))
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            self._looking = None

    async def _look(self, tokens: Sequence[Token]) -> None:
        try:
            found = await run_in_threadpool(self._authenticate_all, tokens)
        except Exception as error:  # noqa: BLE001 # requests outlive every outage of the database
            _log.warning("keys_not_read", error=repr(error))
            return
        for token, caller in zip(tokens, found, strict=True):
            if isinstance(caller, Problem):
                for watched in tuple(self._watched.get(token, ())):
                    watched.refuse(caller)


class WatchedKey:
    """The key of one request. `refusal` is the reason why it is no longer valid, if it is not."""

    def __init__(self) -> None:
        self.refusal: Problem | None = None
        self._interrupts: set[asyncio.Timeout] = set()
        self._watch: tuple[KeyWatch, Token] | None = None

    def begin(self, watch: KeyWatch, token: Token) -> None:
        """Start watching the key that the request has sent."""
        if self._watch is None:
            self._watch = watch, token
            watch.add(self, token)

    def end(self) -> None:
        """Stop watching, because the request is over."""
        if self._watch is not None:
            watch, token = self._watch
            watch.remove(self, token)

    def refuse(self, refusal: Problem) -> None:
        """Record that the key is no longer valid, and interrupt waits."""
        if self.refusal is not None:
            return
        self.refusal = refusal
        for timeout in tuple(self._interrupts):
            timeout.reschedule(0)

    @asynccontextmanager
    async def interrupting(self) -> AsyncIterator[None]:
        """Cancel the awaits inside when the key is refused. Raises its `Problem`."""
        if self.refusal is not None:
            raise self.refusal
        try:
            async with asyncio.timeout(None) as timeout:
                self._interrupts.add(timeout)
                try:
                    yield
                finally:
                    self._interrupts.discard(timeout)
        except TimeoutError:
            if self.refusal is None:
                raise
            raise self.refusal from None
