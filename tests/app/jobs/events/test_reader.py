import asyncio
import threading
from typing import Any

from sqlalchemy.exc import OperationalError

from app.db.transactions import Sessions
from app.jobs.events.reader import EventReader
from app.jobs.events.repository import News, Position
from app.jobs.models import JobStatus
from app.jobs.repository import JobRepository

TENANT = "acme"


class Counted(EventReader):
    """A reader that records each query."""

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


def test_what_is_there_already_comes_at_once(ten_jobs: Sessions) -> None:
    assert numbers(asyncio.run(EventReader(ten_jobs).next(Position("job_1", 0)))) == [1]


def test_whoever_waits_is_told_when_something_happens(ten_jobs: Sessions) -> None:
    reader = Counted(ten_jobs)

    async def follow() -> list[News | None]:
        waiting = [asyncio.create_task(reader.next(Position(f"job_{number}", 1))) for number in (1, 1, 2)]
        await asyncio.sleep(0.8)
        assert not any(task.done() for task in waiting)
        for job_id in ("job_1", "job_2"):
            await asyncio.to_thread(cancel, ten_jobs, job_id)
        return list(await asyncio.gather(*waiting))

    found = asyncio.run(follow())
    assert [numbers(news) for news in found] == [[2], [2], [2]]
    assert [news.status for news in found if news] == [JobStatus.CANCELED] * 3
    assert len(reader.queries) <= 5
    assert reader.queries[0] == {Position("job_1", 1), Position("job_2", 1)}


def test_nobody_looks_for_those_who_have_gone(ten_jobs: Sessions) -> None:
    reader = Counted(ten_jobs)

    async def leave() -> None:
        gone, stays = (asyncio.create_task(reader.next(Position(f"job_{number}", 1))) for number in (1, 2))
        await asyncio.sleep(0.2)
        gone.cancel()
        await asyncio.to_thread(cancel, ten_jobs, "job_2")
        await stays
        asked = len(reader.queries)
        await asyncio.sleep(1.2)
        assert len(reader.queries) == asked

    asyncio.run(leave())
    assert reader.queries[1:] == [{Position("job_2", 1)}]


def test_a_lost_database_is_waited_for(ten_jobs: Sessions) -> None:
    class Failing(EventReader):
        failures = 1

        def _query(self, positions: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise OperationalError("SELECT", {}, Exception("gone"))
            return super()._query(positions)

    assert numbers(asyncio.run(Failing(ten_jobs).next(Position("job_1", 0)))) == [1]


def test_everybody_is_let_go_when_the_service_stops(ten_jobs: Sessions) -> None:
    reader = EventReader(ten_jobs)

    async def stop() -> list[News | None]:
        waiting = [asyncio.create_task(reader.next(Position(f"job_{number}", 1))) for number in (1, 2)]
        await asyncio.sleep(0.1)
        reader.stop()
        async with asyncio.timeout(0.2):
            return [*await asyncio.gather(*waiting), await reader.next(Position("job_1", 0))]

    assert asyncio.run(stop()) == [None, None, None]


def test_a_thousand_listeners_hold_no_threads(ten_jobs: Sessions) -> None:
    reader = EventReader(ten_jobs)

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


def test_a_job_that_is_deleted_meanwhile_has_no_more_news(ten_jobs: Sessions) -> None:
    cancel(ten_jobs, "job_1")
    with ten_jobs.begin() as session:
        assert JobRepository(session).delete("job_1", TENANT)
    news = asyncio.run(EventReader(ten_jobs).next(Position("job_1", 2)))
    assert (numbers(news), news and news.status, news and news.complete) == ([], None, True)


def test_a_position_that_cannot_be_read_keeps_nobody_else_from_the_news(ten_jobs: Sessions) -> None:
    class Stumbling(EventReader):
        """A reader that fails for one of the jobs."""

        def _query(self, positions: Any) -> Any:
            if any(position.job_id == "job_5" for position in positions):
                raise ValueError("not to be read")
            return super()._query(positions)

    reader = Stumbling(ten_jobs)

    async def follow() -> list[int]:
        stuck = asyncio.create_task(reader.next(Position("job_5", 0)))
        others = [reader.next(Position(f"job_{number}", 0)) for number in range(4)]
        found = [number for news in await asyncio.gather(*others) for number in numbers(news)]
        stuck.cancel()
        return found

    assert asyncio.run(follow()) == [1, 1, 1, 1]
