from itertools import repeat

import pytest

from app.access.caller import ANYBODY
from app.access.recent_callers import RecentCallers
from app.access.token import Token


@pytest.mark.parametrize(("later", "known"), [(0.0, True), (0.9, True), (1.0, False), (60.0, False)])
def test_a_caller_is_known_for_a_second(later: float, known: bool) -> None:
    times = iter([100.0, 100.0 + later])
    callers, token = RecentCallers(lambda: next(times)), Token.new()
    callers.remember(token, ANYBODY)
    assert (callers.find(token) == ANYBODY) is known


def test_another_secret_of_the_same_key_is_not_known() -> None:
    callers, token = RecentCallers(), Token.new()
    callers.remember(token, ANYBODY)
    assert callers.find(Token(token.key_id, Token.new().secret)) is None


def test_callers_are_forgotten_before_they_are_too_many() -> None:
    callers, first = RecentCallers(lambda: 0.0), Token.new()
    callers.remember(first, ANYBODY)
    for _ in repeat(None, 10_000):
        callers.remember(Token.new(), ANYBODY)
    assert callers.find(first) is None
