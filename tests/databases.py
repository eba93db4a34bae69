"""Databases for tests: copies of a migrated one, because a migration takes longer than most tests."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import sqlalchemy


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
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    engine.dispose()


@contextmanager
def unused_redis() -> Iterator[dict[str, Any]]:
    """Yield settings for an unused part of the Redis server, and delete its keys at the end."""
    url, prefix = service_url("NERN_TEST_REDIS_URL"), f"nern-test-{secrets.token_hex(6)}:"
    yield {"broker_url": url, "broker_prefix": prefix}
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)
