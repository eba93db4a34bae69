"""Batching: answers concurrent requests with one unit of work.

A query or Redis call per request would use most of the process's capacity: a round trip and a thread for each. While
one batch is in progress, new questions wait for the next one, so an answer is never older than its question.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog
from starlette.concurrency import run_in_threadpool

# Each question may be a parameter of one query. SQLite's limit is 32,766 parameters.
_LARGEST_BATCH = 1000
_log = structlog.get_logger()

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batching(Generic[Question, Answer]):
    """Collects the questions of one event loop and answers them in a thread, up to `largest` at once.

    `work` returns the answers in the order of the questions, and runs in one thread at a time. If it fails, the batch
    is halved until only the faulty questions fail; after an error in `unavailable`, all fail at once.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Question]], Sequence[Answer]],
        largest: int = _LARGEST_BATCH,
        *,
        unavailable: tuple[type[Exception], ...] = (),
    ) -> None:
        self._work = work
        self._unavailable = unavailable
        self._largest = largest
        self._asked: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._working: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """Return the answer, from work that starts after the question. Raises what that work raises."""
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
        except Exception as error:  # noqa: BLE001 # the askers get it
            await self._isolate(batch, error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            # An asker that has gone no longer waits.
            if not future.done():
                future.set_result(answer)

    async def _isolate(self, batch: Sequence[tuple[Question, asyncio.Future[Answer]]], error: Exception) -> None:
        """Find the questions that fail, and answer the others."""
        if len(batch) > 1 and not isinstance(error, self._unavailable):
            _log.warning("batch_split", size=len(batch), error=type(error).__name__)
            middle = len(batch) // 2
            await self._answer(batch[:middle])
            await self._answer(batch[middle:])
            return
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
