import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.database import Sessions, create_sessions, migrate
from app.events.reader import EventReader
from app.events.repository import News, Position
from app.jobs.models import JobStatus
from app.jobs.repository import JobRepository, NewJob
from app.settings import Settings

TENANT = "acme"


@pytest.fixture
def sessions(settings: Settings) -> Iterator[Sessions]:
    """A database with the jobs `job_0` to `job_9`."""
    migrate(settings)
    sessions = create_sessions(settings)
    with sessions.begin() as session:
        for number in range(10):
            JobRepository(session).add(
                NewJob(
                    id=f"job_{number}",
                    tenant=TENANT,
                    device="cpu",
                    options={},
                    checkpoint_sha256="c" * 64,
                    checkpoint_bytes=5,
                )
            )
    yield sessions
    sessions.kw["bind"].dispose()


class Counted(EventReader):
    """A reader that remembers what it was asked for in each query."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__(sessions)
        self.queries: list[set[Position]] = []

    def _query(self, positions: Any) -> Any:
        self.queries.append(set(positions))
        return super()._query(positions)


def cancel(sessions: Sessions, job_id: str) -> None:
    with sessions.begin() as session:
        assert JobRepository(session).request_cancel(job_id, TENANT)


def numbers(news: News | None) -> list[int]:
    assert news is not None
    return [event.number for event in news.events]


def test_what_is_there_already_comes_at_once(sessions: Sessions) -> None:
    assert numbers(asyncio.run(EventReader(sessions).next(Position("job_1", 0)))) == [1]


def test_whoever_waits_is_told_when_something_happens(sessions: Sessions) -> None:
    reader = Counted(sessions)

    async def follow() -> list[News | None]:
        waiting = [asyncio.create_task(reader.next(Position(f"job_{number}", 1))) for number in (1, 1, 2)]
        await asyncio.sleep(0.8)
        assert not any(task.done() for task in waiting)
        for job_id in ("job_1", "job_2"):
            await asyncio.to_thread(cancel, sessions, job_id)
        return list(await asyncio.gather(*waiting))

    found = asyncio.run(follow())
    assert [numbers(news) for news in found] == [[2], [2], [2]]
    assert [news.status for news in found if news] == [JobStatus.CANCELED] * 3
    assert len(reader.queries) <= 5
    assert reader.queries[0] == {Position("job_1", 1), Position("job_2", 1)}


def test_nobody_looks_for_those_who_have_gone(sessions: Sessions) -> None:
    reader = Counted(sessions)

    async def leave() -> None:
        gone, stays = (asyncio.create_task(reader.next(Position(f"job_{number}", 1))) for number in (1, 2))
        await asyncio.sleep(0.2)
        gone.cancel()
        await asyncio.to_thread(cancel, sessions, "job_2")
        await stays
        asked = len(reader.queries)
        await asyncio.sleep(1.2)
        assert len(reader.queries) == asked

    asyncio.run(leave())
    assert reader.queries[1:] == [{Position("job_2", 1)}]


def test_a_lost_database_is_waited_for(sessions: Sessions) -> None:
    class Failing(EventReader):
        failures = 1

        def _query(self, positions: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise OperationalError("SELECT", {}, Exception("gone"))
            return super()._query(positions)

    assert numbers(asyncio.run(Failing(sessions).next(Position("job_1", 0)))) == [1]


def test_everybody_is_let_go_when_the_service_stops(sessions: Sessions) -> None:
    reader = EventReader(sessions)

    async def stop() -> list[News | None]:
        waiting = [asyncio.create_task(reader.next(Position(f"job_{number}", 1))) for number in (1, 2)]
        await asyncio.sleep(0.1)
        reader.stop()
        async with asyncio.timeout(0.2):
            return [*await asyncio.gather(*waiting), await reader.next(Position("job_1", 0))]

    assert asyncio.run(stop()) == [None, None, None]


def test_a_thousand_listeners_hold_no_threads(sessions: Sessions) -> None:
    reader = EventReader(sessions)

    async def count() -> int:
        positions = [Position(f"job_{number % 10}", 1 + number) for number in range(1000)]
        waiting = [asyncio.create_task(reader.next(position)) for position in positions]
        await asyncio.sleep(2)
        threads = threading.active_count()
        reader.stop()
        await asyncio.gather(*waiting)
        return threads

    before = threading.active_count()
    assert asyncio.run(count()) <= before + 1


def test_a_job_that_is_deleted_meanwhile_has_no_more_news(sessions: Sessions) -> None:
    cancel(sessions, "job_1")
    with sessions.begin() as session:
        assert JobRepository(session).delete("job_1", TENANT)
    news = asyncio.run(EventReader(sessions).next(Position("job_1", 2)))
    assert (numbers(news), news and news.status, news and news.complete) == ([], None, True)
