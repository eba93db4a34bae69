"""Every unit of work may be repeated, because the answer to its commit was lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import func, select

from app.accounting.reservations import Reservations, ReservedRoom
from app.db.engine import create_sessions
from app.db.schema import migrate
from app.db.transactions import Sessions
from app.jobs.accounts import ACCOUNTS
from app.jobs.broker import create_celery
from app.jobs.models import Job
from app.jobs.relay import Relay
from app.jobs.service import JobService, TenantJobs
from app.jobs.submission.model import Submission
from app.settings import Settings
from app.storage.folder import FolderStore
from nern_core.contract.options import EncodeOptions
from tests.app.forgetful_sessions import ForgetfulSessions
from tests.app.test_jobs_api import finish
from tests.conftest import EXAMPLE, transaction


@pytest.fixture
def sessions(settings: Settings) -> Iterator[ForgetfulSessions]:
    migrate(settings)
    sessions = create_sessions(settings)
    yield ForgetfulSessions(sessions)
    sessions.kw["bind"].dispose()


@pytest.fixture
def jobs(settings: Settings, sessions: ForgetfulSessions) -> TenantJobs:
    forgetful = cast("Sessions", sessions)
    relay = Relay(settings, forgetful, create_celery(settings))
    return JobService(settings, forgetful, FolderStore(settings.artifacts), relay).of("default")


@pytest.fixture
def submission(settings: Settings) -> Submission:
    return Submission(FolderStore(settings.artifacts).put(EXAMPLE), EncodeOptions())


@pytest.fixture
def room(settings: Settings, sessions: ForgetfulSessions) -> ReservedRoom:
    return Reservations(settings, cast("Sessions", sessions), FolderStore(settings.artifacts), ACCOUNTS).room("default")


@pytest.mark.parametrize("key", [None, "a key"])
def test_submitting_makes_one_job(
    jobs: TenantJobs,
    sessions: ForgetfulSessions,
    settings: Settings,
    submission: Submission,
    room: ReservedRoom,
    key: str | None,
) -> None:
    view = jobs.submit(jobs.begin(key), submission, room)
    assert sessions.lost == (1 if key is None else 2)
    with transaction(settings) as session:
        assert session.scalars(select(Job.id)).all() == [view.id]


def test_canceling_succeeds(jobs: TenantJobs, submission: Submission, room: ReservedRoom) -> None:
    view = jobs.submit(jobs.begin(None), submission, room)
    assert jobs.cancel(view.id).status == "canceled"


def test_deleting_succeeds(
    jobs: TenantJobs,
    submission: Submission,
    room: ReservedRoom,
    settings: Settings,
    tmp_path: Path,
) -> None:
    view = jobs.submit(jobs.begin(None), submission, room)
    finish(settings, view.id, tmp_path)
    jobs.delete(view.id)
    with transaction(settings) as session:
        assert session.scalars(select(func.count()).select_from(Job)).one() == 0


def test_finding_a_result_succeeds(
    jobs: TenantJobs,
    sessions: ForgetfulSessions,
    submission: Submission,
    room: ReservedRoom,
    settings: Settings,
    tmp_path: Path,
) -> None:
    view = jobs.submit(jobs.begin(None), submission, room)
    finish(settings, view.id, tmp_path)
    lost = sessions.lost
    assert jobs.artifact(view.id, "encoding.nern").size == len(b"encoding")
    assert sessions.lost == lost + 1
