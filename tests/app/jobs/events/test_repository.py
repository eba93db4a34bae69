from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.db.engine import create_sessions
from app.db.schema import migrate
from app.db.transactions import Sessions
from app.jobs.events import repository
from app.jobs.events.models import EventKind
from app.jobs.events.repository import MOST_EVENTS, EventRepository, Position, pause_after
from app.jobs.models import Job, JobStatus
from app.jobs.repository import JobRepository, NewJob
from app.jobs.transitions import Claim
from app.settings import Settings

pytestmark = pytest.mark.both_modes

TENANT = "acme"
LEASE = timedelta(seconds=30)
START = datetime(2030, 1, 1, tzinfo=UTC)
Told = list[tuple[int, str, dict[str, Any]]]


@pytest.fixture
def session(settings: Settings) -> Iterator[Session]:
    """A transaction on an empty database of either kind."""
    migrate(settings)
    sessions: Sessions = create_sessions(settings)
    with sessions.begin() as session:
        yield session
    sessions.kw["bind"].dispose()


@pytest.fixture
def jobs(session: Session) -> JobRepository:
    return JobRepository(session)


@pytest.fixture
def events(session: Session) -> EventRepository:
    return EventRepository(session)


def submit(jobs: JobRepository, job_id: str = "job_1") -> None:
    jobs.add(NewJob(id=job_id, tenant=TENANT, device="cpu", options={}, checkpoint_sha256="c" * 64, checkpoint_bytes=5))


def claim(jobs: JobRepository, job_id: str = "job_1") -> Claim:
    claim = jobs.claim(job_id, LEASE)
    assert claim is not None
    return claim


def running(jobs: JobRepository) -> Claim:
    submit(jobs)
    return claim(jobs)


def lose_worker(session: Session) -> None:
    job = session.get_one(Job, "job_1")
    job.lease_until = job.created_at - timedelta(seconds=1)
    session.flush()


def told(events: EventRepository, job_id: str = "job_1") -> Told:
    return [(event.number, event.kind, event.data) for event in events.page(job_id, 0, 1000)]


def test_the_way_of_a_job_is_told_in_numbered_events(jobs: JobRepository, events: EventRepository) -> None:
    held = running(jobs)
    jobs.heartbeat(held, LEASE, None, None)
    jobs.succeed(held, {}, {})
    assert told(events) == [
        (1, "queued", {"attempt": 0}),
        (2, "running", {"attempt": 1}),
        (3, "succeeded", {"attempt": 1}),
    ]


def test_each_job_has_numbers_of_its_own(jobs: JobRepository, events: EventRepository) -> None:
    running(jobs)
    submit(jobs, "job_2")
    assert told(events, "job_2") == [(1, "queued", {"attempt": 0})]


def test_a_failure_is_told_with_its_code_and_sentence(jobs: JobRepository, events: EventRepository) -> None:
    jobs.fail(running(jobs), "no_kernels", "There is nothing.")
    assert told(events)[2:] == [(3, "failed", {"attempt": 1, "code": "no_kernels", "message": "There is nothing."})]


def test_why_a_job_is_queued_again_is_told(jobs: JobRepository, events: EventRepository, session: Session) -> None:
    jobs.release(running(jobs))
    jobs.try_again(claim(jobs), 3, "killed", "It was killed.")
    claim(jobs)
    lose_worker(session)
    jobs.expire_leases(3)
    assert [data for _, kind, data in told(events) if kind == "queued"] == [
        {"attempt": 0},
        {"attempt": 1, "reason": "worker_stopped"},
        {"attempt": 2, "reason": "killed"},
        {"attempt": 3, "reason": "worker_lost"},
    ]


def test_the_loss_of_the_last_attempt_is_told_as_a_failure(
    jobs: JobRepository, events: EventRepository, session: Session
) -> None:
    running(jobs)
    lose_worker(session)
    jobs.expire_leases(1)
    message = "The worker of this job was lost 1 times; submit the job again."
    assert told(events)[2:] == [(3, "failed", {"attempt": 1, "code": "worker_lost", "message": message})]


def test_a_cancellation_is_told_once_and_its_confirmation_once(jobs: JobRepository, events: EventRepository) -> None:
    held = running(jobs)
    assert [jobs.request_cancel("job_1", TENANT) for _ in range(2)] == [True, True]
    assert [jobs.confirm_cancel(held) for _ in range(2)] == [True, False]
    assert told(events)[2:] == [(3, "canceling", {"attempt": 1}), (4, "canceled", {"attempt": 1})]


def test_what_did_not_happen_is_not_told(jobs: JobRepository, events: EventRepository) -> None:
    held = running(jobs)
    jobs.fail(held, "x", "y")
    before = told(events)
    jobs.succeed(held, {}, {})
    jobs.release(held)
    jobs.heartbeat(held, LEASE, "reconstruction", {"step": 1})
    jobs.request_cancel("job_1", TENANT)
    assert told(events) == before


def test_a_heartbeat_tells_progress_if_the_event_before_is_two_seconds_old(
    jobs: JobRepository, events: EventRepository
) -> None:
    submit(jobs)
    numbers = []
    for seconds in (0.0, 1.9, 2.0, 3.0, 4.5):
        events.add_progress("job_2", START + timedelta(seconds=seconds), {"phase": "reconstruction", "step": seconds})
        numbers.append(len(told(events, "job_2")))
    assert numbers == [1, 1, 2, 2, 3]
    jobs.heartbeat(claim(jobs), LEASE, "reconstruction", {"step": 1})
    assert [kind for _, kind, _ in told(events)] == ["queued", "running"]


def test_the_longest_job_has_about_a_thousand_points_of_progress() -> None:
    day, time, number = timedelta(days=1), timedelta(0), 0
    while time < 3 * day:
        time += pause_after(number)
        number += 1
    assert number == 1027
    assert pause_after(10**9) == timedelta(seconds=2048)


def test_those_who_write_at_the_same_time_take_one_number_after_another(settings: Settings) -> None:
    migrate(settings)
    sessions = create_sessions(settings)
    with sessions.begin() as session:
        held = running(JobRepository(session))

    def beat(number: int) -> None:
        with sessions.begin() as session:
            assert JobRepository(session).heartbeat(held, LEASE, None, None) is JobStatus.RUNNING
            EventRepository(session).add("job_1", EventKind.PROGRESS, START, {"step": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(beat, range(40)))
    with sessions.begin() as session:
        found = told(EventRepository(session))
    assert [number for number, _, _ in found] == [*range(1, 43)]
    assert {data["step"] for _, kind, data in found if kind == "progress"} == {*range(40)}
    sessions.kw["bind"].dispose()


def test_the_events_go_with_the_job(jobs: JobRepository, events: EventRepository) -> None:
    jobs.fail(running(jobs), "x", "y")
    assert jobs.delete("job_1", TENANT)
    assert told(events) == []


def test_the_events_expire_with_the_files(jobs: JobRepository, events: EventRepository) -> None:
    jobs.fail(running(jobs), "x", "y")
    jobs.expire_data(timedelta(seconds=-1), 10)
    assert told(events) == []


def test_news_of_many_positions_come_at_once(jobs: JobRepository, events: EventRepository) -> None:
    running(jobs)
    submit(jobs, "job_2")
    asked = [Position("job_1", 0), Position("job_1", 1), Position("job_1", 2), Position("job_2", 0), Position("x", 0)]
    found = events.news(asked)
    assert [[event.number for event in found[position].events] for position in asked] == [[1, 2], [2], [], [1], []]
    assert [found[position].status for position in asked] == [JobStatus.RUNNING] * 3 + [JobStatus.QUEUED, None]
    assert [found[position].complete for position in asked] == [False, False, False, False, True]


def test_where_the_news_are_many_some_positions_get_theirs_later(
    jobs: JobRepository, events: EventRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "_MOST_AT_ONCE", 2)
    running(jobs)
    submit(jobs, "job_2")
    asked = [Position("job_1", 0), Position("job_2", 0), Position("job_2", 1)]
    assert list(events.news(asked)) == [Position("job_1", 0), Position("job_2", 1)]
    assert list(events.news(asked[1:])) == asked[1:]


def test_news_come_a_page_at_a_time_and_are_complete_with_the_last(
    jobs: JobRepository, events: EventRepository
) -> None:
    held = running(jobs)
    for seconds in range(MOST_EVENTS - 2):
        events.add("job_1", EventKind.PROGRESS, START + timedelta(seconds=seconds), {"phase": "reconstruction"})
    jobs.succeed(held, {}, {})
    first, rest = (events.news([Position("job_1", after)]) for after in (0, MOST_EVENTS))
    assert [(len(news.events), news.complete) for news in (*first.values(), *rest.values())] == [
        (MOST_EVENTS, False),
        (1, True),
    ]
