import asyncio
import time
from unittest.mock import patch

import pytest

from app.access.caller import ANYBODY, Scope
from app.access.callers import Callers
from app.access.service import ApiKeyService
from app.access.token import Token
from app.kit.problems import Problem

BOTH = (Scope.READ, Scope.WRITE)


def test_a_key_that_was_good_a_moment_ago_costs_no_query(keys: ApiKeyService) -> None:
    callers, key = Callers(keys), keys.create("acme", BOTH).reveal()
    first = asyncio.run(callers.find(key))
    with patch.object(keys, "_sessions"):
        assert asyncio.run(callers.find(key)) == first


@pytest.mark.parametrize(("later", "queries"), [(0.0, 1), (0.9, 1), (1.0, 2), (60.0, 2)])
def test_a_caller_is_known_for_a_second(keys: ApiKeyService, later: float, queries: int) -> None:
    now, key = 100.0, keys.create("acme", BOTH).reveal()
    with patch.object(keys, "authenticate_all", wraps=keys.authenticate_all) as look_up:
        callers = Callers(keys, lambda: now)
        asyncio.run(callers.find(key))
        now += later
        asyncio.run(callers.find(key))
    assert look_up.call_count == queries


def test_another_secret_of_the_same_key_is_not_known(keys: ApiKeyService) -> None:
    callers, token = Callers(keys), keys.create("acme", BOTH)
    asyncio.run(callers.find(token.reveal()))
    with pytest.raises(Problem):
        asyncio.run(callers.find(Token(token.key_id, Token.new().secret).reveal()))


def test_callers_are_forgotten_before_they_are_too_many(keys: ApiKeyService) -> None:
    shown = [Token.new().reveal() for _ in range(10_001)]
    with patch.object(keys, "authenticate_all", side_effect=lambda tokens: [ANYBODY] * len(tokens)) as look_up:
        callers = Callers(keys, lambda: 0.0)

        async def find(*texts: str) -> None:
            await asyncio.gather(*map(callers.find, texts))

        asyncio.run(find(*shown))
        look_up.reset_mock()
        asyncio.run(find(shown[0]))
    look_up.assert_called_once()


def test_keys_that_are_shown_at_the_same_time_are_looked_up_once(keys: ApiKeyService) -> None:
    shown = [keys.create(tenant, BOTH).reveal() for tenant in ("acme", "umbrella")] * 10
    with patch.object(keys, "authenticate_all", wraps=keys.authenticate_all) as look_up:
        callers = Callers(keys)

        async def find() -> list[str]:
            return [caller.tenant for caller in await asyncio.gather(*map(callers.find, shown))]

        assert asyncio.run(find()) == ["acme", "umbrella"] * 10
    look_up.assert_called_once()


def test_a_revoked_key_is_refused_soon_however_often_it_is_shown(keys: ApiKeyService) -> None:
    callers, token = Callers(keys), keys.create("acme", BOTH)

    async def show_until_refused() -> tuple[str, float]:
        await callers.find(token.reveal())
        keys.revoke(token.key_id)
        start = time.monotonic()
        while time.monotonic() - start < 10:
            try:
                await callers.find(token.reveal())
            except Problem as refused:
                return refused.details.type, time.monotonic() - start
            await asyncio.sleep(0.1)
        raise AssertionError("it is still good")

    reason, seconds = asyncio.run(show_until_refused())
    assert reason == "revoked-key"
    assert seconds < 3


def test_what_is_no_key_at_all_costs_no_query(keys: ApiKeyService) -> None:
    with patch.object(keys, "_sessions") as sessions:
        with pytest.raises(Problem):
            asyncio.run(Callers(keys).find("password"))
        sessions.begin.assert_not_called()


@pytest.mark.parametrize("text", ["password", Token("0" * 16, "s" * 43).reveal()])
def test_a_key_that_is_none_is_refused_each_time(keys: ApiKeyService, text: str) -> None:
    callers = Callers(keys)
    for _ in range(2):
        with pytest.raises(Problem) as refused:
            asyncio.run(callers.find(text))
        assert refused.value.details.type == "invalid-key"


def test_one_bad_key_does_not_take_the_answer_from_the_others(keys: ApiKeyService) -> None:
    callers, good = Callers(keys), keys.create("acme", BOTH).reveal()

    async def find() -> list[object]:
        return [*await asyncio.gather(callers.find(good), callers.find("password"), return_exceptions=True)]

    caller, refused = asyncio.run(find())
    assert (caller, type(refused)) == (keys.authenticate(good), Problem)
