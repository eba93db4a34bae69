"""Answers all who ask at the same time with one piece of work.

Requests that each go to the database or to Redis would take most of what the process can do: a round trip, and a
thread that is woken, for each. While one piece of work runs, those who come wait for the next, so that the fewer there
are, the sooner they are answered, and nobody is told what was true before they asked.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

# Each may be a parameter of one query, of which SQLite takes no more than 32,766.
_MOST = 1000

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Together(Generic[Question, Answer]):
    """Collects the questions of one event loop, and has them answered in a thread, `most` at once.

    `work` answers each question in its place, and is not called again before it has.
    """

    def __init__(self, work: Callable[[Sequence[Question]], Sequence[Answer]], most: int = _MOST) -> None:
        self._work = work
        self._most = most
        self._asked: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._working: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """The answer, from work that begins after the question. Raises what that work raises."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.append((question, answer))
        if self._working is None:
            self._working = asyncio.create_task(self._answer_all())
        return await answer

    async def _answer_all(self) -> None:
        try:
            while self._asked:
                now, self._asked = self._asked[: self._most], self._asked[self._most :]
                await self._answer(now)
        finally:
            self._working = None

    async def _answer(self, asked: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await run_in_threadpool(self._work, [question for question, _ in asked])
        except Exception as error:  # noqa: BLE001 # it is for those who asked
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(asked, answers, strict=True):
                # One who has gone waits no longer.
                if not future.done():
                    future.set_result(answer)
