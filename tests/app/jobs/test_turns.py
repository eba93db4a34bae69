from collections.abc import Iterator
from datetime import timedelta

import pytest

from app.db.engine import create_sessions
from app.db.transactions import Sessions
from app.jobs.repository import JobRepository, NewJob
from app.settings import Settings

pytestmark = pytest.mark.both_modes

LEASE = timedelta(seconds=30)


class Queue:
    """Jobs of tenants; their ids show the order."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._number = 0

    def submit(self, tenant: str, device: str = "cpu") -> str:
        self._number += 1
        job_id = f"job_{self._number:03}"
        new = NewJob(
            id=job_id, tenant=tenant, device=device, options={}, checkpoint_sha256="c" * 64, checkpoint_bytes=5
        )
        with self._sessions.begin() as session:
            JobRepository(session).add(new)
        return job_id

    def wake(self, job_id: str) -> str | None:
        """Let a worker handle a message about a job; return the id of the job that it claimed."""
        with self._sessions.begin() as session:
            jobs = JobRepository(session)
            claim = jobs.claim(jobs.whose_turn(job_id), LEASE)
            return None if claim is None else claim.job_id


@pytest.fixture
def queue(settings: Settings) -> Iterator[Queue]:
    sessions = create_sessions(settings)
    yield Queue(sessions)
    sessions.kw["bind"].dispose()


def test_the_only_job_of_a_tenant_comes_before_the_many_of_another(queue: Queue) -> None:
    many = [queue.submit("acme") for _ in range(4)]
    only = queue.submit("rival")
    taken = [queue.wake(job_id) for job_id in [*many, only]]
    assert taken[:2] == [many[0], only]
    assert sorted(filter(None, taken)) == sorted([*many, only])


def test_jobs_of_one_tenant_are_taken_as_their_messages_say(queue: Queue) -> None:
    jobs = [queue.submit("acme") for _ in range(3)]
    assert [queue.wake(job_id) for job_id in reversed(jobs)] == list(reversed(jobs))


def test_each_device_has_its_own_turns(queue: Queue) -> None:
    running, waiting, other = queue.submit("acme"), queue.submit("acme"), queue.submit("rival", "gpu")
    assert [queue.wake(running), queue.wake(waiting), queue.wake(other)] == [running, waiting, other]


def test_a_message_of_a_job_that_is_gone_wakes_nobody_for_nothing(queue: Queue) -> None:
    only = queue.submit("acme")
    assert [queue.wake("job_0"), queue.wake(only), queue.wake(only)] == [None, only, None]
