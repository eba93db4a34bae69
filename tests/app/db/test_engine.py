from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from app.db.engine import create_sessions
from app.db.transactions import Sessions, transact
from app.settings import Settings

pytestmark = pytest.mark.parametrize("settings", ["production"], indirect=True)


@pytest.fixture
def sessions(settings: Settings) -> Iterator[Sessions]:
    sessions = create_sessions(settings)
    yield sessions
    sessions.kw["bind"].dispose()


class Work:
    """A unit of work that fails the first times."""

    def __init__(self, *mishaps: str) -> None:
        self._mishaps = list(mishaps)
        self.tries = 0

    def __call__(self, session: Session) -> str:
        self.tries += 1
        if self._mishaps:
            session.execute(text(self._mishaps.pop(0)))
        return str(session.scalar(text("SELECT 'done'")))


def fails_with(state: str) -> str:
    return f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$"


def test_work_whose_connection_is_lost_is_done_again(sessions: Sessions) -> None:
    work = Work("SELECT pg_terminate_backend(pg_backend_pid())")
    assert (transact(sessions, work), work.tries) == ("done", 2)


@pytest.mark.parametrize("state", ["08006", "57P01", "57P03", "40001", "40P01"])
def test_work_is_done_again_where_the_database_asks_for_it(sessions: Sessions, state: str) -> None:
    work = Work(fails_with(state))
    assert (transact(sessions, work), work.tries) == ("done", 2)


def test_work_is_tried_three_times_at_most(sessions: Sessions) -> None:
    work = Work(*[fails_with("40001")] * 4)
    with pytest.raises(OperationalError):
        transact(sessions, work)
    assert work.tries == 3


def test_work_that_would_fail_again_is_not_repeated(sessions: Sessions) -> None:
    work = Work(fails_with("22000"))
    with pytest.raises(DBAPIError):
        transact(sessions, work)
    assert work.tries == 1


def test_a_server_that_is_not_there_is_tried_three_times(settings: Settings) -> None:
    nowhere = create_sessions(settings.model_copy(update={"database_url": "postgresql+psycopg://127.0.0.1:9/nern"}))
    work = Work()
    with pytest.raises(OperationalError, match="refused"):
        transact(nowhere, work)
    assert work.tries == 3


def test_no_statement_and_no_idle_transaction_lasts_for_ever(sessions: Sessions) -> None:
    with sessions.begin() as session:
        limits = [
            session.scalar(text(f"SHOW {name}"))
            for name in ("statement_timeout", "idle_in_transaction_session_timeout")
        ]
    assert limits == ["15s", "30s"]
