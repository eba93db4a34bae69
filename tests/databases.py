"""Databases for tests: copies of a migrated one, and one that is emptied; a migration takes longer than most tests."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import sqlalchemy

_END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def service_url(variable: str) -> str:
    """Return the URL of the server that `scripts/with-services` found or started."""
    url = os.environ.get(variable)
    if not url:
        pytest.fail(f"{variable} is not set: run the tests with `make test`")
    return url


@contextmanager
def postgres_database(template: str = "template1") -> Iterator[str]:
    """Create a copy of the database `template` on the PostgreSQL server, yield its URL, and drop it at the end."""
    server = sqlalchemy.make_url(service_url("NERN_TEST_POSTGRES_URL"))
    name = f"nern_test_{secrets.token_hex(6)}"
    _run(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    url = server.set(database=name).render_as_string(hide_password=False)
    yield url
    drop_database(url)


def drop_database(url: str) -> None:
    """Drop a database of `postgres_database`, also while it is used."""
    server = sqlalchemy.make_url(service_url("NERN_TEST_POSTGRES_URL"))
    _run(server, f"DROP DATABASE IF EXISTS {sqlalchemy.make_url(url).database} WITH (FORCE)")


def _run(server: sqlalchemy.URL, statement: str) -> None:
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()


class EmptiedDatabase:
    """A PostgreSQL database that tests use one after another, each without the rows of those before it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        found = sqlalchemy.MetaData()
        found.reflect(self._engine)
        # Deleting takes a sixth of the time of TRUNCATE, which makes new files for each table; no table has a sequence.
        self._delete = "; ".join(
            f"DELETE FROM {table.name}" for table in reversed(found.sorted_tables) if table.name != "alembic_version"
        )

    def empty(self) -> None:
        """Delete all rows, and end connections that an earlier test left open, which could hold locks."""
        with self._engine.begin() as connection:
            connection.exec_driver_sql(_END_OTHERS)
            connection.exec_driver_sql(self._delete)


@contextmanager
def unused_redis() -> Iterator[dict[str, Any]]:
    """Yield settings for an unused part of the Redis server, and delete its keys at the end."""
    url, prefix = service_url("NERN_TEST_REDIS_URL"), f"nern-test-{secrets.token_hex(6)}:"
    yield {"broker_url": url, "broker_prefix": prefix}
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)
