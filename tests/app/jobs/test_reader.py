import asyncio
from datetime import timedelta
from unittest.mock import patch

from app.db.transactions import Sessions
from app.jobs.reader import JobReader
from app.jobs.repository import JobRepository
from app.jobs.schemas import JobView

TENANT = "acme"


def test_all_who_look_at_the_same_time_are_answered_by_one_query(ten_jobs: Sessions) -> None:
    reader = JobReader(ten_jobs, timedelta(days=1))

    async def look() -> list[str | None]:
        looks = (reader.find(f"job_{number}", TENANT) for number in (1, 2, 2, 3))
        return [view.id if view else None for view in await asyncio.gather(*looks)]

    with patch.object(JobRepository, "find", autospec=True, side_effect=JobRepository.find) as query:
        assert asyncio.run(look()) == ["job_1", "job_2", "job_2", "job_3"]
    assert [call.args[1] for call in query.call_args_list] == [{"job_1", "job_2", "job_3"}]


def test_unknown_jobs_and_those_of_others_are_not_there(ten_jobs: Sessions) -> None:
    reader = JobReader(ten_jobs, timedelta(days=1))

    async def look() -> list[object]:
        return list(await asyncio.gather(reader.find("job_x", TENANT), reader.find("job_1", "another")))

    assert asyncio.run(look()) == [None, None]


def test_an_id_that_the_database_refuses_fails_alone(ten_jobs: Sessions) -> None:
    reader = JobReader(ten_jobs, timedelta(days=1))

    async def look() -> list[object]:
        looks = [reader.find(job_id, TENANT) for job_id in ("job_1", "job_\x00", "job_2")]
        return list(await asyncio.gather(*looks, return_exceptions=True))

    first, _, last = asyncio.run(look())
    assert isinstance(first, JobView)
    assert isinstance(last, JobView)
