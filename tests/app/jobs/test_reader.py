import asyncio
import threading
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import OperationalError

from app.database import Sessions
from app.jobs.reader import JobReader

TENANT = "acme"


class Counted(JobReader):
    """A reader whose queries are counted, and wait until they may go on."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__(sessions, timedelta(days=1))
        self.queries: list[set[str]] = []
        self.may_go_on = threading.Event()

    def _query(self, job_ids: Any) -> Any:
        self.queries.append(set(job_ids))
        assert self.may_go_on.wait(10)
        return super()._query(job_ids)


def test_all_who_look_while_a_query_runs_are_answered_by_the_next_one(ten_jobs: Sessions) -> None:
    reader = Counted(ten_jobs)

    async def look() -> list[str | None]:
        first = asyncio.create_task(reader.find("job_0", TENANT))
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(reader.find(f"job_{number}", TENANT)) for number in (1, 2, 2, 3)]
        await asyncio.sleep(0.1)
        reader.may_go_on.set()
        return [view.id if view else None for view in await asyncio.gather(first, *others)]

    assert asyncio.run(look()) == ["job_0", "job_1", "job_2", "job_2", "job_3"]
    assert reader.queries == [{"job_0"}, {"job_1", "job_2", "job_3"}]


def test_unknown_jobs_and_those_of_others_are_not_there(ten_jobs: Sessions) -> None:
    reader = JobReader(ten_jobs, timedelta(days=1))

    async def look() -> list[object]:
        return list(await asyncio.gather(reader.find("job_x", TENANT), reader.find("job_1", "another")))

    assert asyncio.run(look()) == [None, None]


def test_one_who_goes_away_does_not_take_the_answer_from_the_others(ten_jobs: Sessions) -> None:
    reader = Counted(ten_jobs)

    async def look() -> str | None:
        gone, stays = (asyncio.create_task(reader.find("job_1", TENANT)) for _ in range(2))
        await asyncio.sleep(0.1)
        gone.cancel()
        reader.may_go_on.set()
        view = await stays
        return view.id if view else None

    assert asyncio.run(look()) == "job_1"


def test_an_error_reaches_everybody_who_looked_and_nobody_after(ten_jobs: Sessions) -> None:
    class Failing(JobReader):
        failures = 1

        def _query(self, job_ids: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise OperationalError("SELECT", {}, Exception("gone"))
            return super()._query(job_ids)

    reader = Failing(ten_jobs, timedelta(days=1))

    async def look() -> tuple[list[type], str]:
        answers = await asyncio.gather(
            reader.find("job_1", TENANT), reader.find("job_2", TENANT), return_exceptions=True
        )
        view = await reader.find("job_1", TENANT)
        assert view is not None
        return [type(answer) for answer in answers], view.id

    assert asyncio.run(look()) == ([OperationalError, OperationalError], "job_1")
