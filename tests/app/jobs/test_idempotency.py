import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx2
import pytest
import sqlalchemy
from starlette.testclient import TestClient

from app.db.engine import create_sessions
from app.db.schema import migrate
from app.db.transactions import current_time
from app.jobs.draft import Draft
from app.jobs.idempotency import HeldKey, IdempotencyKeys, parse_key
from app.jobs.models import IdempotencyKey, Job
from app.kit.problems import Problem
from app.kit.tenants import DEFAULT_TENANT
from app.settings import Settings
from tests.app.conftest import serving, submit
from tests.app.test_jobs_api import finish
from tests.app.test_one_tenant_and_others import until
from tests.conftest import EXAMPLE, transaction

pytestmark = pytest.mark.both_modes

KEY = {"Idempotency-Key": '"b3c9f4c2"'}


def job_count(settings: Settings) -> int:
    with transaction(settings) as session:
        return session.scalars(sqlalchemy.select(sqlalchemy.func.count()).select_from(Job)).one()


def expire_keys(settings: Settings) -> None:
    """Let a day pass for the keys."""
    with transaction(settings) as session:
        for key in session.scalars(sqlalchemy.select(IdempotencyKey)):
            key.expires_at -= timedelta(days=1)


def is_expired(settings: Settings) -> bool:
    with transaction(settings) as session:
        expiry = session.scalars(sqlalchemy.select(IdempotencyKey.expires_at)).one()
        return expiry < current_time(session)


@contextmanager
def held(settings: Settings) -> Iterator[None]:
    """Another request with the key still arrives."""
    with transaction(settings) as session:
        assert IdempotencyKeys(session, DEFAULT_TENANT).hold("b3c9f4c2", "job_other") is None
    yield


def test_the_same_request_under_the_same_key_gets_the_first_job_again(client: TestClient, settings: Settings) -> None:
    first, again = (submit(client, {"steps": 10}, headers=KEY) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert job_count(settings) == 1


def test_options_that_mean_the_same_are_the_same_request(client: TestClient) -> None:
    first, again = submit(client, {"seed": 0}, headers=KEY), submit(client, headers=KEY)
    assert again.json()["id"] == first.json()["id"]


OTHER_CHECKPOINT = EXAMPLE.read_bytes()[:-4] + bytes(4)


@pytest.mark.parametrize("other", [{"options": {"seed": 7}}, {"checkpoint": OTHER_CHECKPOINT}])
def test_another_request_under_the_same_key_is_refused(
    client: TestClient, settings: Settings, other: dict[str, Any]
) -> None:
    submit(client, headers=KEY)
    answer = submit(client, **other, headers=KEY)
    assert (answer.status_code, answer.json()["type"]) == (422, "idempotency-key-reused")
    assert answer.json()["detail"] == (
        "This Idempotency-Key was used before with another file, data set, options, name, labels, webhook or deadline; "
        "use a new key."
    )
    assert answer.json()["detail"].endswith("use a new key.")
    assert job_count(settings) == 1


def test_a_key_whose_request_still_arrives_is_refused_for_now(client: TestClient, settings: Settings) -> None:
    with held(settings):
        answer = submit(client, headers=KEY)
    assert (answer.status_code, answer.json()["type"]) == (409, "request-in-progress")
    assert answer.headers["Retry-After"] == "60"
    assert job_count(settings) == 0


def test_a_request_that_fell_silent_loses_its_key(client: TestClient, settings: Settings) -> None:
    with held(settings):
        expire_keys(settings)
        assert submit(client, headers=KEY).status_code == 202


def test_a_request_that_takes_long_keeps_its_key(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs.idempotency._SECONDS_BETWEEN_EXTENSIONS", 0.05)
    migrate(settings)
    sessions = create_sessions(settings)
    held = HeldKey(sessions, DEFAULT_TENANT, "b3c9f4c2", "job_1")
    assert held.take() is None

    async def arrive() -> None:
        async with Draft(DEFAULT_TENANT, "job_1", held).holding_its_key():
            await asyncio.to_thread(expire_keys, settings)
            await asyncio.to_thread(until, lambda: not is_expired(settings))

    asyncio.run(arrive())
    sessions.kw["bind"].dispose()


def test_a_refused_request_gives_its_key_back(client: TestClient) -> None:
    assert submit(client, {"seconds": -1}, headers=KEY).status_code == 422
    assert submit(client, headers=KEY).status_code == 202


def test_an_expired_key_makes_a_new_job(client: TestClient, settings: Settings) -> None:
    first = submit(client, headers=KEY).json()
    expire_keys(settings)
    assert submit(client, headers=KEY).json()["id"] != first["id"]


def test_the_key_of_a_deleted_job_makes_no_second_one(client: TestClient) -> None:
    job = submit(client, headers=KEY).json()
    client.post(job["links"]["cancel"])
    client.delete(job["links"]["self"])
    answer = submit(client, headers=KEY)
    assert (answer.status_code, answer.json()["type"]) == (409, "job-deleted")


def test_the_answer_to_a_repeated_request_is_the_job_as_it_is_now(
    client: TestClient, settings: Settings, tmp_path: Path
) -> None:
    job = submit(client, headers=KEY).json()
    finish(settings, job["id"], tmp_path)
    assert submit(client, headers=KEY).json()["status"] == "succeeded"


def test_the_keys_of_another_tenant_are_others(settings: Settings) -> None:
    migrate(settings)
    with transaction(settings) as session:
        for tenant, job in (("a", "job_a"), ("b", "job_b")):
            keys = IdempotencyKeys(session, tenant)
            assert keys.hold("same", job) is None
            keys.bind("same", job, tenant, timedelta(days=1))
        assert str(IdempotencyKeys(session, "b").hold("same", "job_c")).count("job_b") == 1


def test_of_duplicates_that_arrive_at_once_one_makes_a_job(settings: Settings) -> None:
    requests = 6
    barrier = Barrier(requests)
    with serving(settings) as client:

        def send(number: int) -> httpx2.Response:
            barrier.wait()
            return submit(client, headers=KEY)

        with ThreadPoolExecutor(requests) as pool:
            answers = list(pool.map(send, range(requests)))
        assert job_count(settings) == 1
        assert {answer.status_code for answer in answers} <= {202, 409}
        jobs = {answer.json()["id"] for answer in answers if answer.status_code == 202}
        assert jobs == {submit(client, headers=KEY).json()["id"]}


@pytest.mark.parametrize(("header", "key"), [('"a key"', "a key"), ("4f9a-b", "4f9a-b"), (None, None), (' "x" ', "x")])
def test_a_key_comes_in_quotes_or_without(header: str | None, key: str | None) -> None:
    assert parse_key(header) == key


@pytest.mark.parametrize("header", ["", '""', '"a', 'a"b"', "two words", "é", '"a"; b', "x" * 256, '"\\"'])
def test_a_malformed_key_is_refused(header: str) -> None:
    with pytest.raises(Problem, match="in quotes") as caught:
        parse_key(header)
    assert (caught.value.details.status, caught.value.details.type) == (400, "invalid-idempotency-key")
