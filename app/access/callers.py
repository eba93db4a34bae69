"""Finds the callers of requests; a client that polls does not cost a query each time."""

from app.access.caller import Caller
from app.access.recent_callers import RecentCallers
from app.access.service import ApiKeyService, read_token
from app.db.transactions import DATABASE_LOST
from app.kit.batching import Batching
from app.kit.problems import Problem


class Callers:
    """Finds the holders of keys for requests of one event loop: valid keys once a second, all in one query."""

    def __init__(self, keys: ApiKeyService) -> None:
        self._recent = RecentCallers()
        self._look_ups = Batching(keys.authenticate_all, unavailable=DATABASE_LOST)

    async def find(self, text: str) -> Caller:
        """Return the holder of a key. Raises `Problem` (`invalid-key`, `revoked-key`, `expired-key`)."""
        token = read_token(text)
        caller = self._recent.find(token)
        if caller is not None:
            return caller
        found = await self._look_ups.ask(token)
        if isinstance(found, Problem):
            raise found
        self._recent.remember(token, found)
        return found
