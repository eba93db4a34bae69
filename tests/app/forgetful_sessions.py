"""Sessions with lost answers, for tests of retried work."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.transactions import Sessions


class ForgetfulSessions:
    """Commits each transaction, but loses the answer to every first of two."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.lost = 0
        self._lose = False

    @contextmanager
    def begin(self) -> Iterator[Session]:
        with self._sessions.begin() as session:
            yield session
        self._lose = not self._lose
        if self._lose:
            self.lost += 1
            raise OperationalError("COMMIT", {}, psycopg.OperationalError("the connection is lost"))
