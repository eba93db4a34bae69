import asyncio
import threading
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import OperationalError

from app.db.transactions import DATABASE_LOST
from app.kit.batching import Batching


class Doubled:
    """Work that waits until it is released, and records its inputs."""

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
    batching = Batching(work)

    async def ask() -> list[int]:
        first = asyncio.create_task(batching.ask(0))
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(batching.ask(number)) for number in (1, 2, 2, 3)]
        await asyncio.sleep(0.1)
        work.may_go_on.set()
        return list(await asyncio.gather(first, *others))

    assert asyncio.run(ask()) == [0, 2, 4, 4, 6]
    assert work.asked == [[0], [1, 2, 2, 3]]


def test_many_are_answered_in_parts(work: Doubled) -> None:
    batching = Batching(work, largest=2)
    work.may_go_on.set()

    async def ask() -> list[int]:
        return list(await asyncio.gather(*map(batching.ask, range(5))))

    assert asyncio.run(ask()) == [0, 2, 4, 6, 8]
    assert work.asked == [[0, 1], [2, 3], [4]]


def test_one_who_goes_away_does_not_take_the_answer_from_the_others(work: Doubled) -> None:
    batching = Batching(work)

    async def ask() -> int:
        gone, stays = (asyncio.create_task(batching.ask(1)) for _ in range(2))
        await asyncio.sleep(0.1)
        gone.cancel()
        work.may_go_on.set()
        return await stays

    assert asyncio.run(ask()) == 2


def test_a_question_that_fails_leaves_the_others_of_its_batch_their_answers(work: Doubled) -> None:
    batching = Batching(work)
    work.may_go_on.set()

    async def ask() -> tuple[list[str], int]:
        answers = await asyncio.gather(*map(batching.ask, (1, 2, -1, 3)), return_exceptions=True)
        return [repr(answer) for answer in answers], await batching.ask(1)

    assert asyncio.run(ask()) == (["2", "4", "ValueError('negative')", "6"], 2)


def test_a_lost_database_is_not_asked_again_for_each_question() -> None:
    asked = []

    def lose(numbers: Sequence[int]) -> Sequence[int]:
        asked.append(len(numbers))
        raise OperationalError("select", {}, Exception("the connection is gone"))

    async def ask() -> list[object]:
        batching = Batching(lose, unavailable=DATABASE_LOST)
        return list(await asyncio.gather(*map(batching.ask, range(8)), return_exceptions=True))

    assert {type(answer) for answer in asyncio.run(ask())} == {OperationalError}
    assert asked == [8]
