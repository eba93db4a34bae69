"""Event streams from real processes: they resume after cuts and restarts, and do not delay the stop of a server."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import httpx2
import pytest

from app.db.engine import create_sessions
from app.db.transactions import Sessions
from app.jobs.events.models import EventKind
from app.jobs.events.repository import EventRepository
from app.jobs.repository import JobRepository
from app.jobs.transitions import Claim
from tests.processes import Client, Service
from tests.server_sent_events import Event, events_of
from tests.shared_service import SharedService, Tenant

LEASE = timedelta(seconds=600)


@pytest.fixture
def sessions(service: Service) -> Iterator[Sessions]:
    """The database of the service."""
    sessions = create_sessions(service.settings)
    yield sessions
    sessions.kw["bind"].dispose()


@contextmanager
def stream(client: Client, address: str, after: str | None = None) -> Iterator[Iterator[Event]]:
    """Yield the events of a job as they arrive, after the last one that the client has seen."""
    headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": after})
    with client.http.stream("GET", f"{address}/events", headers=headers) as answer:
        assert answer.status_code == 200
        yield events_of(answer.iter_lines())


def take(client: Client, sessions: Sessions) -> tuple[str, Claim]:
    """Create a job that no worker of the test serves, and claim it; return its address and the claim."""
    address = client.submit(device="gpu")
    with sessions.begin() as session:
        claim = JobRepository(session).claim(address.rpartition("/")[2], LEASE)
    assert claim is not None
    return address, claim


def tell(sessions: Sessions, claim: Claim, steps: range) -> None:
    """Report progress in quick succession, faster than a worker."""
    for step in steps:
        with sessions.begin() as session:
            now = JobRepository(session).now()
            EventRepository(session).add(
                claim.job_id, EventKind.PROGRESS, now, {"phase": "reconstruction", "step": step}
            )


@pytest.mark.slow
def test_a_client_that_is_cut_off_sees_every_event_once_across_a_restart(service: Service, sessions: Sessions) -> None:
    api = service.start_api()
    address, claim = take(service.client, sessions)
    tell(sessions, claim, range(5))
    seen: list[str | None] = []
    with stream(service.client, address) as events:
        # The client disconnects in the middle of the stream.
        seen += [next(events).id for _ in range(4)]
    with stream(service.client, address, seen[-1]) as events:
        seen += [next(events).id for _ in range(3)]
        api.kill()
        with pytest.raises(httpx2.TransportError):
            next(events)
    api.wait()
    tell(sessions, claim, range(5, 300))
    service.start_api()
    with stream(service.client, address, seen[-1]) as events:
        seen += [next(events).id for _ in range(100)]
    with stream(service.client, address, seen[-1]) as events:
        tell(sessions, claim, range(300, 310))
        with sessions.begin() as session:
            assert JobRepository(session).succeed(claim, {}, {})
        rest = list(events)
    seen += [event.id for event in rest]
    assert seen == [*map(str, range(1, 314)), None]
    assert [(event.kind, event.data) for event in rest[-1:]] == [("end", '{"status": "succeeded"}')]


def test_an_event_reaches_those_who_wait_within_a_second_or_two(shared: SharedService, tenant: Tenant) -> None:
    address, claim = take(tenant.client, shared.sessions)
    with stream(tenant.client, address, "2") as events:
        time.sleep(1.2)
        told = time.monotonic()
        tell(shared.sessions, claim, range(1))
        assert next(events).id == "3"
        assert time.monotonic() - told < 2


def test_a_server_that_stops_lets_its_listeners_go_and_answers_those_who_wait(
    service: Service, sessions: Sessions
) -> None:
    api = service.start_api()
    address, _ = take(service.client, sessions)
    with stream(service.client, address) as events, ThreadPoolExecutor() as pool, Client(service.port) as other:
        assert [next(events).kind for _ in range(2)] == ["queued", "running"]
        waiting = pool.submit(other.http.get, address, headers={"Prefer": "wait=60"})
        time.sleep(1)
        stopped = time.monotonic()
        api.send_signal(signal.SIGTERM)
        # The stream ends regularly, and without the event that tells the client not to reconnect.
        assert list(events) == []
        assert waiting.result(10).json()["status"] == "running"
    api.wait(15)
    assert time.monotonic() - stopped < 8


@pytest.mark.slow
def test_those_who_go_away_leave_their_places(service: Service, sessions: Sessions) -> None:
    service.settings = service.settings.model_copy(update={"max_listeners": 2})
    service.start_api()
    address, _ = take(service.client, sessions)
    for _ in range(5):
        with stream(service.client, address) as first, stream(service.client, address) as second:
            assert next(first) == next(second)
            taken = service.client.http.get(f"{address}/events", headers={"Accept": "text/event-stream"})
            assert taken.status_code == 503
        time.sleep(0.3)
