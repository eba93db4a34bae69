"""Databases for tests. To migrate takes longer than most tests do, so they work on copies of one that has been."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy


def service_url(variable: str) -> str:
    """The server that `scripts/with-services` found or started."""
    url = os.environ.get(variable)
    if not url:
        pytest.fail(f"{variable} is not set: run the tests with `make test`")
    return url


@contextmanager
def postgres_database(template: str = "template1") -> Iterator[str]:
    """URL of a new database on the PostgreSQL server, a copy of another one, which is dropped in the end."""
    server = sqlalchemy.make_url(service_url("NERN_TEST_POSTGRES_URL"))
    name = f"nern_test_{secrets.token_hex(6)}"
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    engine.dispose()
