"""Batching: answers all requests that ask at the same time with one unit of work.

A query, or a call of Redis, for each request would take most of what the process can do: a round trip and a
thread for each. While one batch is worked on, later questions wait for the next, so nobody gets an answer from
before they asked.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog
from starlette.concurrency import run_in_threadpool

from app.database import DATABASE_LOST

# Each question may be a parameter of one query. SQLite takes 32,766 parameters.
_LARGEST_BATCH = 1000
_log = structlog.get_logger()

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batching(Generic[Question, Answer]):
    """Collects the questions of one event loop and has them answered in a thread, up to `largest` at once.

    `work` answers each question in its place, and runs in one thread at a time. If it fails, the batch is halved until
    only the questions at fault fail; where the database is lost, all of them do at once.
    """

    def __init__(self, work: Callable[[Sequence[Question]], Sequence[Answer]], largest: int = _LARGEST_BATCH) -> None:
        self._work = work
        self._largest = largest
        self._asked: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._working: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """Return the answer, from work that begins after the question. Raises what that work raises."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.append((question, answer))
        if self._working is None:
            self._working = asyncio.create_task(self._answer_all())
        return await answer

    async def _answer_all(self) -> None:
        try:
            while self._asked:
                batch, self._asked = self._asked[: self._largest], self._asked[self._largest :]
                await self._answer(batch)
        finally:
            self._working = None

    async def _answer(self, batch: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await run_in_threadpool(self._work, [question for question, _ in batch])
        except Exception as error:  # noqa: BLE001 # it is for those who asked
            await self._isolate(batch, error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            # One who has gone waits no longer.
            if not future.done():
                future.set_result(answer)

    async def _isolate(self, batch: Sequence[tuple[Question, asyncio.Future[Answer]]], error: Exception) -> None:
        """Find the questions that the work fails for, and answer the others."""
        if len(batch) > 1 and not isinstance(error, DATABASE_LOST):
            _log.warning("batch_split", size=len(batch), error=type(error).__name__)
            middle = len(batch) // 2
            await self._answer(batch[:middle])
            await self._answer(batch[middle:])
            return
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
