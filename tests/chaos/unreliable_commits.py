"""Commits that are applied and then reported as failed, as when the connection breaks before the answer."""

import os
import random
from collections.abc import Callable
from typing import Any

import psycopg
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

PROBABILITY_VARIABLE = "CHAOS_PROBABILITY"


def commit_without_answer(loses: Callable[[], bool]) -> Callable[[PGDialect_psycopg, Any], None]:
    """What commits in place of the dialect's own: where `loses` says so, its answer and its connection are lost."""
    commit: Any = PGDialect_psycopg.do_commit

    def do_commit(self: PGDialect_psycopg, connection: Any) -> None:
        commit(self, connection)
        if loses():
            connection.dbapi_connection.close()
            raise psycopg.OperationalError("the connection was lost before the commit was answered")

    return do_commit


def lose_answers() -> None:
    """From now on, let a share of this process's commits lose their answer and their connection."""
    probability, chance = float(os.environ[PROBABILITY_VARIABLE]), random.Random(os.getpid())
    do_commit = commit_without_answer(lambda: chance.random() < probability)
    PGDialect_psycopg.do_commit = do_commit  # type: ignore[method-assign, assignment] # no event comes after a commit
