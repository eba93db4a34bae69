"""Cache of callers whose key was just found valid, so that a client that polls does not cost a query each time."""

import time
from collections.abc import Callable

from app.access.caller import Caller
from app.access.token import Token

# Longest time that a key remains usable after it was revoked or has expired.
SECONDS = 1.0
_MOST = 10_000


class RecentCallers:
    """Callers by key, each for a second. Thread-safe, because each step is one dictionary operation."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: dict[Token, tuple[Caller, float]] = {}

    def find(self, token: Token) -> Caller | None:
        """Return the holder of a key that was valid less than a second ago, or None."""
        caller, until = self._found.get(token, (None, 0.0))
        return caller if self._clock() < until else None

    def remember(self, token: Token, caller: Caller) -> None:
        """Record that a key is valid now."""
        if len(self._found) >= _MOST:
            self._found.clear()
        self._found[token] = caller, self._clock() + SECONDS
