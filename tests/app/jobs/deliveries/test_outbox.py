from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.db.transactions import Sessions, transact
from app.jobs.deliveries.models import WebhookDelivery
from app.jobs.deliveries.repository import DeliveryRepository, Due
from app.jobs.models import Job
from app.jobs.repository import JobRepository, NewJob
from app.jobs.transitions import Claim
from app.kit.fair_shares import FairShares
from app.webhooks.webhook import Webhook, WebhookEvent
from tests.app.jobs.test_repository import ARTIFACTS, LEASE, METRICS, TENANT, sessions

pytestmark = pytest.mark.both_modes

__all__ = ["sessions"]

HOLD = timedelta(minutes=1)
URL = "https://hooks.example/nern"


def submit(sessions: Sessions, events: tuple[WebhookEvent, ...] = tuple(WebhookEvent)) -> None:
    new = NewJob(
        id="job_1",
        tenant=TENANT,
        device="cpu",
        options={},
        checkpoint_sha256="c" * 64,
        checkpoint_bytes=5,
        webhook=Webhook(url=URL, events=events),
    )
    with sessions.begin() as session:
        JobRepository(session).add(new)


def claim(sessions: Sessions) -> Claim:
    with sessions.begin() as session:
        found = JobRepository(session).claim("job_1", LEASE)
    assert found is not None
    return found


def told(sessions: Sessions) -> list[tuple[str, str, str]]:
    with sessions.begin() as session:
        deliveries = session.scalars(select(WebhookDelivery)).all()
    return [(delivery.job_id, delivery.tenant, delivery.event) for delivery in deliveries]


def lose_worker(session: Any, max_attempts: int) -> bool:
    jobs = JobRepository(session)
    session.get_one(Job, "job_1").lease_until = jobs.now() - timedelta(seconds=1)
    session.flush()
    return jobs.expire_leases(max_attempts) == 1


ENDS: list[tuple[str, Callable[[JobRepository, Claim, Any], Any], str]] = [
    ("success", lambda jobs, held, _: jobs.succeed(held, METRICS, ARTIFACTS), "job.succeeded"),
    ("failure", lambda jobs, held, _: jobs.fail(held, "no_kernels", "None."), "job.failed"),
    ("last attempt", lambda jobs, held, _: jobs.try_again(held, 1, "killed", "Killed."), "job.failed"),
    ("lost worker", lambda jobs, held, session: lose_worker(session, 1), "job.failed"),
    (
        "cancellation",
        lambda jobs, held, _: jobs.request_cancel("job_1", TENANT) and jobs.confirm_cancel(held),
        "job.canceled",
    ),
    (
        "cancellation of a lost worker",
        lambda jobs, _, session: jobs.request_cancel("job_1", TENANT) and lose_worker(session, 3),
        "job.canceled",
    ),
]


@pytest.mark.parametrize(("end", "event"), [end[1:] for end in ENDS], ids=[end[0] for end in ENDS])
def test_every_end_of_a_job_is_told_once(
    sessions: Sessions, end: Callable[[JobRepository, Claim, Any], Any], event: str
) -> None:
    submit(sessions)
    held = claim(sessions)
    with sessions.begin() as session:
        assert end(JobRepository(session), held, session)
    with sessions.begin() as session:
        jobs = JobRepository(session)
        assert not jobs.succeed(held, METRICS, ARTIFACTS)
        assert not jobs.confirm_cancel(held)
        assert jobs.expire_leases(1) == 0
    assert told(sessions) == [("job_1", TENANT, event)]


def test_a_job_that_is_canceled_in_the_queue_is_told_at_once(sessions: Sessions) -> None:
    submit(sessions)
    for _ in range(2):
        with sessions.begin() as session:
            JobRepository(session).request_cancel("job_1", TENANT)
    assert told(sessions) == [("job_1", TENANT, "job.canceled")]


def test_what_does_not_end_a_job_is_not_told(sessions: Sessions) -> None:
    submit(sessions)
    held = claim(sessions)
    with sessions.begin() as session:
        jobs = JobRepository(session)
        jobs.heartbeat(held, LEASE, None, None)
        jobs.try_again(held, 3, "killed", "Killed.")
    with sessions.begin() as session:
        jobs = JobRepository(session)
        again = jobs.claim("job_1", LEASE)
        assert again is not None
        jobs.release(again)
        assert jobs.claim("job_1", LEASE) is not None
        jobs.request_cancel("job_1", TENANT)
    assert told(sessions) == []


def test_an_end_that_is_rolled_back_is_not_told(sessions: Sessions) -> None:
    submit(sessions)
    held = claim(sessions)
    with sessions() as session:
        JobRepository(session).succeed(held, METRICS, ARTIFACTS)
        session.rollback()
    assert told(sessions) == []


def test_only_the_events_that_are_asked_for_are_told(sessions: Sessions) -> None:
    submit(sessions, (WebhookEvent.FAILED,))
    with sessions.begin() as session:
        JobRepository(session).request_cancel("job_1", TENANT)
    assert told(sessions) == []


def take(sessions: Sessions) -> list[Due]:
    return transact(sessions, lambda session: DeliveryRepository(session).take(9, HOLD, FairShares(9)))


def test_one_courier_at_a_time_has_a_delivery(sessions: Sessions) -> None:
    submit(sessions)
    with sessions.begin() as session:
        JobRepository(session).request_cancel("job_1", TENANT)
    taken = [
        transact(sessions, lambda session: DeliveryRepository(session).take(9, HOLD, FairShares(9))) for _ in range(2)
    ]
    assert [len(due) for due in taken] == [1, 0]
    lost = [
        transact(sessions, lambda session: DeliveryRepository(session).take(9, timedelta(), FairShares(9)))
        for _ in range(2)
    ]
    assert lost == [[], []]


def test_an_attempt_is_settled_once(sessions: Sessions) -> None:
    submit(sessions)
    with sessions.begin() as session:
        JobRepository(session).request_cancel("job_1", TENANT)
    (due,) = take(sessions)

    def settle() -> bool:
        entry = {"status_code": 204, "error": None, "milliseconds": 1}
        return transact(
            sessions, lambda session: DeliveryRepository(session).settle(due, entry, delivered=True, pause=None)
        )

    assert [settle(), settle()] == [True, False]
    assert transact(sessions, lambda session: DeliveryRepository(session).pending()) == 0
