"""The repository against its model: for any sequence of actions, both give the same answers and state."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from app.db.engine import create_engine
from app.db.schema import migrate
from app.db.transactions import Sessions
from app.jobs.announcements import Waiting
from app.jobs.events.models import EventKind, JobEvent
from app.jobs.models import TERMINAL, Job, JobStatus
from app.jobs.repository import JobRepository, NewJob
from app.jobs.transitions import Claim
from app.settings import Settings
from tests.app.jobs.job_model import JobModel, Row

Answer = TypeVar("Answer")
TENANT = "default"
LEASE = timedelta(seconds=30)
PAUSE = timedelta(seconds=60)
MAX_ATTEMPTS = 2
# Few, so that many actions happen to the same job.
MOST_JOBS = 3


class RepositoryAt(JobRepository):
    """The repository at a time of the test's choosing."""

    def __init__(self, session: Session, clock: Callable[[], datetime]) -> None:
        super().__init__(session)
        self._clock = clock

    def now(self) -> datetime:
        return self._clock()


SAYINGS: dict[str, Callable[[Any, Claim], Any]] = {
    "heartbeat": lambda jobs, claim: jobs.heartbeat(claim, LEASE, None, None),
    "heartbeat with progress": lambda jobs, claim: jobs.heartbeat(claim, LEASE, "reconstruction", {"step": 7}),
    "keep snapshots": lambda jobs, claim: jobs.keep_snapshots(claim, {"of": {"sha256": f"{claim.attempt}"}}),
    "succeed": lambda jobs, claim: jobs.succeed(claim, {"ratio": 2.0}, {"a": {"bytes": 3, "sha256": "a" * 64}}),
    "succeed otherwise": lambda jobs, claim: jobs.succeed(
        claim, {"ratio": 3.0}, {"b": {"bytes": 4, "sha256": "b" * 64}}
    ),
    "fail": lambda jobs, claim: jobs.fail(claim, "no_kernels", "There is nothing."),
    "try again": lambda jobs, claim: jobs.try_again(claim, MAX_ATTEMPTS, "killed", "It was killed."),
    "confirm cancel": lambda jobs, claim: jobs.confirm_cancel(claim),
    "release": lambda jobs, claim: jobs.release(claim),
}


class JobMachine(RuleBasedStateMachine):
    """Any earlier claim may be used at any time, as by workers that were asleep."""

    jobs: Bundle[str] = Bundle("jobs")
    claims: Bundle[Claim] = Bundle("claims")
    seen: Bundle[Waiting] = Bundle("seen")

    sessions: Sessions

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.model = JobModel(lambda: self.now)
        self.ended: dict[str, Row] = {}
        self.attempts: dict[str, int] = {}
        self.holders: dict[str, Claim] = {}
        self.stale: dict[str, Claim] = {}
        self.successes: dict[str, int] = {}
        with self.sessions.begin() as session:
            session.execute(delete(Job))
            session.execute(delete(JobEvent))

    def repository(self, session: Session) -> JobRepository:
        return RepositoryAt(session, lambda: self.now)

    def both(self, act: Callable[[Any], Answer]) -> Answer:
        """Do the same to the database and to the model; assert equal answers."""
        with self.sessions.begin() as session:
            found = act(self.repository(session))
        assert found == act(self.model)
        return found

    @precondition(lambda self: len(self.model.rows) < MOST_JOBS)
    @rule(target=jobs, device=st.sampled_from(["cpu", "gpu"]), deadline=st.sampled_from([None, timedelta(seconds=90)]))
    def submit(self, device: str, deadline: timedelta | None) -> str:
        job_id = f"job_{len(self.model.rows)}"
        new = NewJob(
            id=job_id,
            tenant=TENANT,
            device=device,
            options={"seed": 1},
            checkpoint_sha256="c" * 64,
            checkpoint_bytes=5,
            deadline=deadline,
        )
        with self.sessions.begin() as session:
            self.repository(session).add(new)
        self.model.add(new)
        return job_id

    @rule(target=claims, job_id=jobs)
    def claim(self, job_id: str) -> Any:
        """Handle a message: the first, a duplicate, or an overtaken one."""
        claim = self.both(lambda jobs: jobs.claim(job_id, LEASE))
        if claim is None:
            return multiple()
        assert claim.attempt > self.attempts.get(job_id, 0)
        if job_id in self.holders:
            self.stale[job_id] = self.holders[job_id]
        self.attempts[job_id], self.holders[job_id] = claim.attempt, claim
        return claim

    @rule(job_id=st.sampled_from(["job_unknown", ""]))
    def a_message_for_no_job(self, job_id: str) -> None:
        assert self.both(lambda jobs: jobs.claim(job_id, LEASE)) is None

    @rule(claim=claims, say=st.sampled_from(sorted(SAYINGS)))
    def say(self, claim: Claim, say: str) -> None:
        """Report for a worker that ever held the job, perhaps long after it has lost it."""
        hit = self.both(lambda jobs: SAYINGS[say](jobs, claim))
        if say.startswith("succeed") and hit:
            self.successes[claim.job_id] = self.successes.get(claim.job_id, 0) + 1

    @rule(job_id=jobs, say=st.sampled_from(sorted(SAYINGS)))
    def the_last_holder_says(self, job_id: str, say: str) -> None:
        if job_id in self.holders:
            self.say(self.holders[job_id], say)

    @rule(job_id=jobs, say=st.sampled_from(sorted(SAYINGS)))
    def the_holder_before_it_says(self, job_id: str, say: str) -> None:
        if job_id in self.stale:
            self.say(self.stale[job_id], say)

    @rule(job_id=jobs, tenant=st.sampled_from([TENANT, TENANT, "another"]))
    def request_cancel(self, job_id: str, tenant: str = TENANT) -> None:
        self.both(lambda jobs: jobs.request_cancel(job_id, tenant))

    @rule(job_id=jobs, say=st.sampled_from(sorted(SAYINGS)))
    def a_cancellation_meets_what_the_worker_says(self, job_id: str, say: str) -> None:
        self.request_cancel(job_id)
        self.the_last_holder_says(job_id, say)

    @rule(seconds=st.sampled_from([1, 29, 30, 31, 60, 61]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def sweep(self) -> None:
        self.both(lambda jobs: jobs.expire_leases(MAX_ATTEMPTS))
        self.both(lambda jobs: jobs.expire_deadlines())

    @rule(target=claims, job_id=jobs, seconds=st.sampled_from([30, 31]))
    def a_worker_falls_silent_and_another_takes_over(self, job_id: str, seconds: int) -> Any:
        self.the_last_holder_says(job_id, "heartbeat")
        self.time_passes(seconds)
        self.sweep()
        return self.claim(job_id)

    @rule(target=claims, job_id=jobs, say=st.sampled_from(["release", "try again"]))
    def a_worker_gives_its_job_back_and_another_takes_over(self, job_id: str, say: str) -> Any:
        self.the_last_holder_says(job_id, say)
        return self.claim(job_id)

    @rule(limit=st.integers(1, 3))
    def announce(self, limit: int) -> None:
        waiting = self.both(lambda jobs: jobs.to_announce(limit))
        self.both(lambda jobs: jobs.mark_announced([(job, PAUSE) for job in waiting]))

    @rule(target=seen, limit=st.integers(1, 3))
    def look_for_announcements(self, limit: int) -> Any:
        return multiple(*self.both(lambda jobs: jobs.to_announce(limit)))

    @rule(waiting=consumes(seen))
    def mark_announced(self, waiting: Waiting) -> None:
        """Mark as announced, possibly long after reading: a relay may be slow, and there may be several."""
        self.both(lambda jobs: jobs.mark_announced([(waiting, PAUSE)]))

    @rule(job_id=jobs)
    def announce_again(self, job_id: str) -> None:
        self.both(lambda jobs: jobs.announce_again(job_id))

    @rule(claim=claims)
    def a_transaction_is_lost(self, claim: Claim) -> None:
        """Roll back: an uncommitted action has no effect."""
        with self.sessions() as session:
            self.repository(session).succeed(claim, {}, {})
            session.rollback()

    @invariant()
    def the_database_holds_what_the_model_holds(self) -> None:
        assert self.rows() == self.model.rows

    @invariant()
    def what_has_ended_never_changes(self) -> None:
        rows = self.rows()
        assert {job_id: rows[job_id] for job_id in self.ended} == self.ended
        self.ended = {job_id: row for job_id, row in rows.items() if row.status in TERMINAL}

    @invariant()
    def a_job_is_published_at_most_once(self) -> None:
        assert all(count == 1 for count in self.successes.values())

    @invariant()
    def no_job_is_tried_more_often_than_allowed(self) -> None:
        assert all(row.attempt - row.releases <= MAX_ATTEMPTS for row in self.rows().values())

    @invariant()
    def only_a_queued_job_waits_to_be_announced_and_only_a_held_one_has_a_lease(self) -> None:
        for row in self.rows().values():
            assert (row.announce_at is not None) == (row.status is JobStatus.QUEUED)
            assert (row.lease_until is not None) == (row.status in {JobStatus.RUNNING, JobStatus.CANCELING})
            assert (row.finished_at is not None) == (row.status in TERMINAL)

    @invariant()
    def the_events_have_no_gaps_and_the_last_status_that_they_tell_is_that_of_the_job(self) -> None:
        told: dict[str, list[str]] = {job_id: [] for job_id in self.model.rows}
        with self.sessions.begin() as session:
            for event in session.scalars(select(JobEvent).order_by(JobEvent.job_id, JobEvent.number)):
                told[event.job_id].append(event.kind)
                assert event.number == len(told[event.job_id])
        for job_id, kinds in told.items():
            statuses = [kind for kind in kinds if kind != EventKind.PROGRESS]
            assert statuses[-1] == self.model.rows[job_id].status
            assert all(before != after for before, after in pairwise(statuses))
            assert not set(kinds[:-1]) & TERMINAL

    def teardown(self) -> None:
        """Assert that every job ends, even if every worker is lost from now on."""
        for _ in range(MAX_ATTEMPTS + 1):
            for job_id in self.model.rows:
                self.claim(job_id)
            self.now += LEASE + timedelta(seconds=1)
            self.sweep()
            self.what_has_ended_never_changes()
        assert {row.status for row in self.rows().values()} <= TERMINAL

    def rows(self) -> dict[str, Row]:
        """Return the rows in the database."""
        with self.sessions.begin() as session:
            return {job.id: _row(job) for job in session.scalars(select(Job))}


def _row(job: Job) -> Row:
    columns = {name: getattr(job, name) for name in Row.__dataclass_fields__}
    return Row(**columns | {"status": JobStatus(job.status)})


@pytest.fixture(params=["sqlite", "postgresql"])
def sessions(request: pytest.FixtureRequest, embedded: Settings) -> Iterator[Sessions]:
    """An empty database of either kind."""
    chosen = embedded
    if request.param == "postgresql":
        chosen = embedded.model_copy(update={"database_url": request.getfixturevalue("postgres_url")})
    migrate(chosen)
    engine = create_engine(chosen)
    yield sessionmaker(engine, expire_on_commit=False)
    engine.dispose()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("histories", [5, pytest.param(150, marks=pytest.mark.slow)])
def test_the_repository_does_what_its_model_does(sessions: Sessions, histories: int) -> None:
    class Machine(JobMachine):
        pass

    Machine.sessions = sessions
    run_state_machine_as_test(
        Machine,
        settings=hypothesis_settings(
            max_examples=histories,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
