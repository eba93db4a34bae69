"""The events of a job over HTTP, as pages and as streams."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.db.engine import create_sessions
from app.db.transactions import Sessions
from app.jobs.events import stream
from app.jobs.events.listener_limit import ListenerLimit
from app.jobs.events.models import EventKind
from app.jobs.events.reader import EventReader
from app.jobs.events.repository import EventRepository, Position
from app.jobs.repository import JobRepository
from app.settings import Settings
from tests.app.conftest import serving, submit
from tests.conftest import transaction
from tests.server_sent_events import Event, events_of

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def sessions(settings: Settings) -> Iterator[Sessions]:
    """The database of the client's service."""
    sessions = create_sessions(settings)
    yield sessions
    sessions.kw["bind"].dispose()


def failed_job(client: TestClient, settings: Settings) -> str:
    """A job that a worker has claimed and that has failed."""
    job_id: str = submit(client).json()["id"]
    with transaction(settings) as session:
        claim = JobRepository(session).claim(job_id, timedelta(seconds=30))
        assert claim is not None
        JobRepository(session).fail(claim, "no_kernels", "There is\nnothing.")
    return job_id


def follow(client: TestClient, job_id: str, **headers: str) -> list[Event]:
    answer = client.get(f"/jobs/{job_id}/events", headers=STREAM | headers)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    return list(events_of(answer.text.splitlines()))


def test_events_come_as_a_page(client: TestClient, settings: Settings) -> None:
    job_id = failed_job(client, settings)
    answer = client.get(f"/jobs/{job_id}/events")
    page = answer.json()
    times = [item.pop("time") for item in page["items"]]
    assert times == sorted(times)
    assert page == {
        "items": [
            {"number": 1, "kind": "queued", "data": {"attempt": 0}},
            {"number": 2, "kind": "running", "data": {"attempt": 1}},
            {
                "number": 3,
                "kind": "failed",
                "data": {"attempt": 1, "code": "no_kernels", "message": "There is\nnothing."},
            },
        ],
        "next_after": None,
    }
    assert answer.headers["Vary"] == "Accept"


def test_pages_lead_from_one_to_the_next(client: TestClient, settings: Settings) -> None:
    address = client.get(f"/jobs/{failed_job(client, settings)}").json()["links"]["events"]
    first = client.get(address, params={"limit": 2}).json()
    rest = client.get(address, params={"limit": 2, "after": first["next_after"]}).json()
    assert [[item["number"] for item in page["items"]] for page in (first, rest)] == [[1, 2], [3]]
    assert rest["next_after"] is None


def test_a_stream_tells_everything_and_ends_with_the_job(client: TestClient, settings: Settings) -> None:
    job_id = failed_job(client, settings)
    events = follow(client, job_id)
    assert [(event.id, event.kind) for event in events] == [
        ("1", "queued"),
        ("2", "running"),
        ("3", "failed"),
        (None, "end"),
    ]
    page = client.get(f"/jobs/{job_id}/events").json()
    assert [json.loads(event.data) for event in events] == [*page["items"], {"status": "failed"}]


def test_a_stream_goes_on_after_the_last_event_that_the_client_has(client: TestClient, settings: Settings) -> None:
    job_id = failed_job(client, settings)
    assert [event.id for event in follow(client, job_id, **{"Last-Event-ID": "1"})] == ["2", "3", None]
    assert [event.kind for event in follow(client, job_id, **{"Last-Event-ID": "3"})] == ["end"]


def test_a_job_whose_events_have_expired_has_nothing_but_an_end(
    client: TestClient, settings: Settings, sessions: Sessions
) -> None:
    job_id = failed_job(client, settings)
    with sessions.begin() as session:
        EventRepository(session).forget([job_id])
    assert [(event.kind, event.data) for event in follow(client, job_id)] == [("end", '{"status": "failed"}')]
    assert client.get(f"/jobs/{job_id}/events").json() == {"items": [], "next_after": None}


def test_a_long_stream_has_every_event_once(client: TestClient, settings: Settings, sessions: Sessions) -> None:
    job_id = submit(client).json()["id"]
    with sessions.begin() as session:
        jobs, events = JobRepository(session), EventRepository(session)
        for step in range(450):
            events.add(job_id, EventKind.PROGRESS, jobs.now(), {"phase": "reconstruction", "step": step})
        jobs.request_cancel(job_id, "default")
    assert [event.id for event in follow(client, job_id)] == [*map(str, range(1, 453)), None]


def test_a_stream_is_not_collected_on_its_way_and_says_when_to_come_back(
    client: TestClient, settings: Settings
) -> None:
    answer = client.get(f"/jobs/{failed_job(client, settings)}/events", headers=STREAM)
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Content-Length" not in answer.headers
    assert answer.text.startswith("retry: 2000\n\n")


def test_a_stream_shows_that_it_lives_and_ends_in_time(
    embedded_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_SECONDS_BETWEEN_COMMENTS", 0.3)
    monkeypatch.setattr(stream, "_LONGEST_SECONDS", 1.0)
    answer = embedded_client.get(f"/jobs/{submit(embedded_client).json()['id']}/events", headers=STREAM)
    assert answer.text.count(": waiting\n\n") >= 2
    assert [event.kind for event in events_of(answer.text.splitlines())] == ["queued"]


def test_one_who_takes_nothing_does_not_keep_the_place(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_LONGEST_SECONDS", 0.2)
    monkeypatch.setattr(stream, "_SECONDS_TO_TAKE", 0.1)
    listeners = ListenerLimit(1)

    async def never(*message: Any) -> Any:
        await asyncio.sleep(60)

    async def send_to_nobody() -> bool:
        answer = stream.EventStream(EventReader(sessions), listeners, Position("job_1", 0))
        sending = asyncio.create_task(answer({"type": "http"}, never, never))
        await asyncio.sleep(0.1)
        full = listeners.full("anybody")
        await sending
        return full

    assert asyncio.run(send_to_nobody())
    assert not listeners.full("anybody")


def test_whoever_comes_when_all_listeners_are_taken_is_told_when_to_come_back(embedded: Settings) -> None:
    with serving(embedded.model_copy(update={"max_listeners": 0})) as client:
        address = f"/jobs/{submit(client).json()['id']}/events"
        answer = client.get(address, headers=STREAM)
        assert client.get(address).status_code == 200
    assert (answer.status_code, answer.json()["type"]) == (503, "too-many-listeners")
    assert answer.headers["Retry-After"] == "10"


def test_listeners_are_given_back(embedded: Settings) -> None:
    with serving(embedded.model_copy(update={"max_listeners": 1})) as client:
        job_id = failed_job(client, embedded)
        assert [follow(client, job_id)[-1].kind for _ in range(3)] == ["end"] * 3


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_the_events_of_an_unknown_job_are_not_found(embedded_client: TestClient, accept: str) -> None:
    answer = embedded_client.get("/jobs/job_unknown/events", headers={"Accept": accept})
    assert (answer.status_code, answer.json()["type"]) == (404, "unknown-job")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"params": {"after": -1}}, "after"),
        ({"params": {"after": 2**31}}, "after"),
        ({"params": {"limit": 5001}}, "limit"),
        ({"headers": {"Last-Event-ID": "x"}}, "last-event-id"),
    ],
)
def test_a_place_that_cannot_be_is_explained(embedded_client: TestClient, asked: dict[str, Any], field: str) -> None:
    job_id = submit(embedded_client).json()["id"]
    answer = embedded_client.get(f"/jobs/{job_id}/events", **asked)
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-request")
    assert answer.json()["errors"][0]["field"] == field
