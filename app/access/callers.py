"""Finds the callers of requests; a client that polls does not cost a query each time."""

import time
from collections.abc import Callable

from cachetools import TTLCache

from app.access.caller import Caller
from app.access.service import ApiKeyService, read_token
from app.access.token import Token
from app.db.transactions import DATABASE_LOST
from app.kit.batching import Batching
from app.kit.problems import Problem

# Longest time that a key remains usable after it was revoked or has expired.
SECONDS = 1.0
_MOST_REMEMBERED = 10_000


class Callers:
    """Finds the holders of keys for requests of one event loop: valid keys once a second, all in one query."""

    def __init__(self, keys: ApiKeyService, clock: Callable[[], float] = time.monotonic) -> None:
        self._recent: TTLCache[Token, Caller] = TTLCache(_MOST_REMEMBERED, SECONDS, clock)
        self._look_ups = Batching(keys.authenticate_all, unavailable=DATABASE_LOST)

    async def find(self, text: str) -> Caller:
        """Return the holder of a key. Raises `Problem` (`invalid-key`, `revoked-key`, `expired-key`)."""
        token = read_token(text)
        caller = self._recent.get(token)
        if caller is not None:
            return caller
        found = await self._look_ups.ask(token)
        if isinstance(found, Problem):
            raise found
        self._recent[token] = found
        return found
