"""Commits that are applied but reported as failed, as after a lost connection."""

import os
import random
from collections.abc import Callable
from typing import Any

import psycopg
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

PROBABILITY_VARIABLE = "CHAOS_PROBABILITY"


def commit_without_answer(loses: Callable[[], bool]) -> Callable[[PGDialect_psycopg, Any], None]:
    """Return a replacement for the dialect's commit that loses the answer and the connection if `loses()` is true."""
    commit: Any = PGDialect_psycopg.do_commit

    def do_commit(self: PGDialect_psycopg, connection: Any) -> None:
        commit(self, connection)
        if loses():
            connection.dbapi_connection.close()
            raise psycopg.OperationalError("the connection was lost before the commit was answered")

    return do_commit


def lose_answers() -> None:
    """Make a share of this process's commits lose their answer and connection from now on."""
    probability, chance = float(os.environ[PROBABILITY_VARIABLE]), random.Random(os.getpid())
    do_commit = commit_without_answer(lambda: chance.random() < probability)
    PGDialect_psycopg.do_commit = do_commit  # type: ignore[method-assign, assignment] # no event comes after a commit
