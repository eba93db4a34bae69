import asyncio
import threading
from collections.abc import Sequence

import pytest

from app.together import Together


class Doubled:
    """Work that waits until it may go on, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Sequence[int]] = []
        self.may_go_on = threading.Event()

    def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        self.asked.append(numbers)
        assert self.may_go_on.wait(10)
        if -1 in numbers:
            raise ValueError("negative")
        return [2 * number for number in numbers]


@pytest.fixture
def work() -> Doubled:
    return Doubled()


def test_all_who_ask_while_work_goes_on_are_answered_by_the_next(work: Doubled) -> None:
    together = Together(work)

    async def ask() -> list[int]:
        first = asyncio.create_task(together.ask(0))
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(together.ask(number)) for number in (1, 2, 2, 3)]
        await asyncio.sleep(0.1)
        work.may_go_on.set()
        return list(await asyncio.gather(first, *others))

    assert asyncio.run(ask()) == [0, 2, 4, 4, 6]
    assert work.asked == [[0], [1, 2, 2, 3]]


def test_many_are_answered_in_parts(work: Doubled) -> None:
    together = Together(work, most=2)
    work.may_go_on.set()

    async def ask() -> list[int]:
        return list(await asyncio.gather(*map(together.ask, range(5))))

    assert asyncio.run(ask()) == [0, 2, 4, 6, 8]
    assert work.asked == [[0, 1], [2, 3], [4]]


def test_one_who_goes_away_does_not_take_the_answer_from_the_others(work: Doubled) -> None:
    together = Together(work)

    async def ask() -> int:
        gone, stays = (asyncio.create_task(together.ask(1)) for _ in range(2))
        await asyncio.sleep(0.1)
        gone.cancel()
        work.may_go_on.set()
        return await stays

    assert asyncio.run(ask()) == 2


def test_an_error_reaches_everybody_who_asked_and_nobody_after(work: Doubled) -> None:
    together = Together(work)
    work.may_go_on.set()

    async def ask() -> tuple[list[str], int]:
        answers = await asyncio.gather(together.ask(1), together.ask(-1), return_exceptions=True)
        return [repr(answer) for answer in answers], await together.ask(1)

    assert asyncio.run(ask()) == (["ValueError('negative')"] * 2, 2)
