import threading
import time
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from app.jobs.repository import JobRepository
from app.jobs.waiting import Wait, WaitFor, preferred_wait
from app.settings import Settings
from tests.app.conftest import serving, submit
from tests.conftest import transaction


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("wait=5", 5),
        ("Wait = 5", 5),
        ('respond-async, wait="7"; strict', 7),
        ("wait=100", 60),
        ("wait=999999999", 60),
        ("wait", 0),
        ("wait=-1", 0),
        ("wait=1.5", 0),
        ("wait=soon", 0),
        ("await=5", 0),
    ],
)
def test_the_seconds_that_a_client_would_wait(header: str | None, seconds: int) -> None:
    assert preferred_wait(header) == Wait(seconds)


@pytest.mark.parametrize(
    ("header", "query", "wait"),
    [
        ("wait=5; for=end", None, Wait(5, WaitFor.END)),
        ('respond-async, Wait = "5" ;FOR="end"', None, Wait(5, WaitFor.END)),
        ("wait=5; for=ever", None, Wait(5)),
        ("for=end", None, Wait(0)),
        (None, WaitFor.END, Wait(60, WaitFor.END)),
        ("wait=5", WaitFor.END, Wait(5, WaitFor.END)),
        ("wait=5; for=end", WaitFor.CHANGE, Wait(5)),
    ],
)
def test_what_a_client_would_wait_for(header: str | None, query: WaitFor | None, wait: Wait) -> None:
    assert preferred_wait(header, query) == wait


def test_a_job_that_has_ended_is_answered_at_once(client: TestClient) -> None:
    job = submit(client).json()
    client.post(job["links"]["cancel"])
    start = time.monotonic()
    answer = client.get(job["links"]["self"], headers={"Prefer": "wait=30"})
    assert (answer.json()["status"], answer.headers["Preference-Applied"]) == ("canceled", "wait=30")
    assert time.monotonic() - start < 2


def test_a_job_that_stays_as_it_is_is_answered_when_the_time_is_over(client: TestClient) -> None:
    job = submit(client).json()
    start = time.monotonic()
    answer = client.get(job["links"]["self"], headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    assert 1 <= time.monotonic() - start < 3


def test_a_change_of_the_status_is_answered_when_it_comes(client: TestClient, settings: Settings) -> None:
    job = submit(client).json()

    def claim() -> None:
        with transaction(settings) as session:
            JobRepository(session).claim(job["id"], timedelta(seconds=30))

    timer = threading.Timer(0.7, claim)
    timer.start()
    start = time.monotonic()
    answer = client.get(job["links"]["self"], headers={"Prefer": "wait=30"})
    timer.join()
    assert answer.json()["status"] == "running"
    assert 0.7 <= time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("query", "headers", "applied"),
    [({}, {"Prefer": "wait=30; for=end"}, "wait=30; for=end"), ({"wait_for": "end"}, {}, "wait=60; for=end")],
)
def test_who_waits_for_the_end_is_not_answered_when_the_job_begins(
    client: TestClient, settings: Settings, query: dict[str, str], headers: dict[str, str], applied: str
) -> None:
    job = submit(client).json()

    def claim_and_fail() -> None:
        with transaction(settings) as session:
            claim = JobRepository(session).claim(job["id"], timedelta(seconds=30))
        assert claim is not None
        time.sleep(1.2)
        with transaction(settings) as session:
            JobRepository(session).fail(claim, "bad_data", "There is no data.")

    timer = threading.Timer(0.2, claim_and_fail)
    timer.start()
    answer = client.get(job["links"]["self"], params=query, headers=headers)
    timer.join()
    assert (answer.json()["status"], answer.headers["Preference-Applied"]) == ("failed", applied)


def test_without_a_preference_or_a_place_nobody_waits(embedded: Settings) -> None:
    with serving(embedded.model_copy(update={"max_listeners": 0})) as client:
        address = submit(client).json()["links"]["self"]
        start = time.monotonic()
        answers = [client.get(address, headers=headers) for headers in ({}, {"Prefer": "wait=30"})]
    assert time.monotonic() - start < 5
    assert [(answer.status_code, "Preference-Applied" in answer.headers) for answer in answers] == [(200, False)] * 2
