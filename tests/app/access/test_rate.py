import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
import redis
from starlette.testclient import TestClient

from app.access.rate import WINDOW, Allowance, MemoryCounters, RateLimit, RedisCounters
from app.access.service import ApiKeyService
from app.kit.problems import Problem
from app.settings import Settings
from tests.app.conftest import serving
from tests.app.routes.test_authentication import BOTH, bearer

pytestmark = pytest.mark.both_modes

NOON = 1_700_000_040.0  # the start of a minute


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A settable time of day."""
    now = [NOON]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


@pytest.fixture(params=["memory", "redis"])
def limit(request: pytest.FixtureRequest) -> RateLimit:
    """Three requests a minute, counted in this process or in Redis."""
    if request.param == "memory":
        return RateLimit(3, MemoryCounters())
    found = request.getfixturevalue("redis_settings")
    return RateLimit(3, RedisCounters(found["broker_url"], found["broker_prefix"]))


def left(limit: RateLimit, key_id: str = "a") -> int:
    allowance = asyncio.run(limit.take(key_id))
    assert allowance is not None
    return allowance.remaining


def test_a_key_makes_as_many_requests_as_it_may_and_no_more(limit: RateLimit, clock: list[float]) -> None:
    clock[0] += 12
    assert [left(limit) for _ in range(3)] == [2, 1, 0]
    with pytest.raises(Problem, match="3 requests per minute; retry in 48 seconds") as refused:
        asyncio.run(limit.take("a"))
    assert refused.value.details.status == 429
    assert refused.value.headers == {
        "RateLimit-Policy": '"requests";q=3;w=60',
        "RateLimit": '"requests";r=0;t=48',
        "Retry-After": "48",
    }


def test_the_next_minute_is_a_new_one(limit: RateLimit, clock: list[float]) -> None:
    assert [left(limit) for _ in range(3)] == [2, 1, 0]
    clock[0] += WINDOW
    assert left(limit) == 2


def test_each_key_has_a_limit_of_its_own(limit: RateLimit, clock: list[float]) -> None:
    assert [left(limit, "a"), left(limit, "b"), left(limit, "a")] == [2, 2, 1]


def test_requests_at_the_same_time_are_all_counted(limit: RateLimit, clock: list[float]) -> None:
    async def take() -> list[object]:
        return await asyncio.gather(*(limit.take(key_id) for key_id in "abaaaa"), return_exceptions=True)

    found = asyncio.run(take())
    assert [allowance.remaining for allowance in found if isinstance(allowance, Allowance)] == [2, 2, 1, 0]
    assert [type(refused) for refused in found[4:]] == [Problem, Problem]


def test_what_is_counted_in_redis_is_forgotten_in_time(redis_settings: dict[str, str]) -> None:
    counters = RedisCounters(redis_settings["broker_url"], redis_settings["broker_prefix"])
    assert counters.add([("a", 1), ("a", 1), ("a", 2)]) == [1, 2, 1]
    with redis.Redis.from_url(redis_settings["broker_url"]) as client:
        lifetimes = [client.ttl(key) for key in client.scan_iter(f"{redis_settings['broker_prefix']}rate:*")]
    assert len(lifetimes) == 2
    assert all(0 < lifetime <= 2 * WINDOW for lifetime in lifetimes)


def test_while_redis_is_down_everybody_passes_and_nobody_waits_twice() -> None:
    # Redis counts as down after a quarter of a second.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        limit = RateLimit(1, RedisCounters(f"redis://127.0.0.1:{silent.getsockname()[1]}", ""))
        start = time.monotonic()
        assert [asyncio.run(limit.take("a")) for _ in range(100)] == [None] * 100
        assert time.monotonic() - start < 4


def test_without_a_limit_nothing_is_counted() -> None:
    assert asyncio.run(RateLimit(0, MemoryCounters()).take("a")) is None


@pytest.fixture
def client(with_keys: Settings, keys: ApiKeyService) -> Iterator[TestClient]:
    """A client whose key allows three requests a minute."""
    with serving(with_keys.model_copy(update={"requests_per_minute": 3})) as client:
        client.headers.update(bearer(keys.create("acme", BOTH).reveal()))
        yield client


def test_every_answer_says_what_is_left(client: TestClient, clock: list[float]) -> None:
    answers = [client.get(path) for path in ("/jobs", "/jobs/job_unknown", "/jobs", "/jobs")]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 429]
    assert [answer.headers["RateLimit"] for answer in answers] == [f'"requests";r={left};t=60' for left in (2, 1, 0, 0)]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"requests";q=3;w=60'}
    assert answers[3].json()["type"] == "too-many-requests"
    assert answers[3].headers["Retry-After"] == "60"


def test_health_is_not_counted(client: TestClient) -> None:
    assert [client.get("/livez").status_code for _ in range(5)] == [200] * 5


def test_without_keys_there_is_no_limit(embedded: Settings) -> None:
    with serving(embedded.model_copy(update={"requests_per_minute": 1})) as client:
        answers = [client.get("/jobs") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "RateLimit" not in answers[0].headers
