"""Rate limit: requests per minute and key, counted across all API processes if Redis is the broker.

Windows are the clock's minutes, so each needs only one counter. If the counters cannot be reached, all requests are
admitted, because the limit protects the service from overload, not from theft.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import redis
import structlog

from app.kit.batching import Batching
from app.kit.problems import Problem
from app.settings import FILESYSTEM_BROKER, Settings

WINDOW = 60
_SECONDS_TO_ANSWER = 0.25
_SECONDS_BETWEEN_TRIES = 5.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Allowance:
    """Remaining requests of a limit, and seconds until the window ends."""

    limit: int
    remaining: int
    seconds: int


# A key's id and the number of a window.
Request = tuple[str, int]


class Counters(Protocol):
    """Counts the requests of a window. Calls of `add` do not overlap."""

    def add(self, requests: Sequence[Request]) -> Sequence[int | None]:
        """Count requests; return the total at each of them, None if the counters cannot be reached."""


class RateLimit:
    """Admits requests of one event loop up to the limit."""

    def __init__(self, limit: int, counters: Counters) -> None:
        self._limit = limit
        self._requests = Batching(counters.add)

    async def take(self, key_id: str) -> Allowance | None:
        """Count a request; None if there is no limit now. Raises `Problem` (`too-many-requests`)."""
        if not self._limit:
            return None
        now = time.time()
        count = await self._requests.ask((key_id, int(now // WINDOW)))
        if count is None:
            return None
        seconds = WINDOW - int(now % WINDOW)
        if count > self._limit:
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too-many-requests",
                f"This API key may make {self._limit:,} requests per minute; retry in {seconds} seconds.",
                headers=rate_headers(Allowance(self._limit, 0, seconds)) | {"Retry-After": str(seconds)},
            )
        return Allowance(self._limit, self._limit - count, seconds)


class MemoryCounters:
    """Counters of this process only."""

    def __init__(self) -> None:
        self._window = 0
        self._counts: Counter[str] = Counter()

    def add(self, requests: Sequence[Request]) -> Sequence[int]:
        """Count requests, and drop the previous window."""
        found = []
        for key_id, window in requests:
            if window != self._window:
                self._window, self._counts = window, Counter()
            self._counts[key_id] += 1
            found.append(self._counts[key_id])
        return found


class RedisCounters:
    """Counters in Redis, shared by all processes. After a failure, Redis is not called for 5 seconds."""

    def __init__(self, url: str, prefix: str) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_timeout=_SECONDS_TO_ANSWER, socket_connect_timeout=_SECONDS_TO_ANSWER
        )
        self._prefix = prefix
        self._silent_until = 0.0

    def add(self, requests: Sequence[Request]) -> Sequence[int | None]:
        """Count requests in one round trip; return None for each while Redis does not answer."""
        if time.monotonic() < self._silent_until:
            return [None] * len(requests)
        left = Counter(requests)
        try:
            with self._redis.pipeline() as pipeline:
                for (key_id, window), times in left.items():
                    name = f"{self._prefix}rate:{key_id}:{window}"
                    pipeline.incrby(name, times)
                    pipeline.expire(name, 2 * WINDOW)
                totals = dict(zip(left, pipeline.execute()[::2], strict=True))
        except redis.RedisError as error:
            self._silent_until = time.monotonic() + _SECONDS_BETWEEN_TRIES
            _log.warning("rate_not_counted", error=repr(error))
            return [None] * len(requests)
        found = []
        for request in requests:
            left[request] -= 1
            # Subtract the requests that come after this one.
            found.append(int(totals[request]) - left[request])
        return found


def create_rate_limit(settings: Settings) -> RateLimit:
    """Create the limit of the settings, counted in Redis if that is the broker."""
    if settings.broker_url == FILESYSTEM_BROKER:
        return RateLimit(settings.requests_per_minute, MemoryCounters())
    return RateLimit(settings.requests_per_minute, RedisCounters(settings.broker_url, settings.broker_prefix))


def rate_headers(allowance: Allowance) -> dict[str, str]:
    """Return the headers of draft-ietf-httpapi-ratelimit-headers."""
    return {
        "RateLimit-Policy": f'"requests";q={allowance.limit};w={WINDOW}',
        "RateLimit": f'"requests";r={allowance.remaining};t={allowance.seconds}',
    }
