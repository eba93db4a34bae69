"""The database: engine, sessions and migrations, for SQLite and PostgreSQL alike."""

import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TypeVar

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CursorResult, Engine, func, make_url, select
from sqlalchemy import create_engine as create_sqlalchemy_engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.sql.dml import Delete, Update

from app.db.postgresql import read_any_time
from app.db.sqlite import check_integrity, refuse_network, use_safely
from app.settings import Settings

_MIGRATIONS = Path(__file__).parents[2] / "migrations"
_SQLITE_NOW = "%Y-%m-%d %H:%M:%f"
# No request or background round takes nearly this long; one that does would block others.
_POSTGRESQL_LIMITS = "-c statement_timeout=15s -c idle_in_transaction_session_timeout=30s"
_POSTGRESQL: dict[str, str | int] = {
    "connect_timeout": 5,
    "options": _POSTGRESQL_LIMITS,
    # A server that disappears silently is detected within a minute.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# Classes of SQLSTATE: connection exceptions, the server shuts down, serialization failures and deadlocks.
_TRANSIENT = ("08", "57P", "40001", "40P01")
_DISK_FULL = "53100"
_PAUSES = (0.1, 0.5)
# Raised by any query while the database does not answer.
DATABASE_LOST = (OperationalError, InterfaceError, NoConnection)
_log = structlog.get_logger()

Found = TypeVar("Found")
Sessions = sessionmaker[Session]


class SchemaError(Exception):
    """The database has the schema of another version."""


def create_engine(settings: Settings) -> Engine:
    """Create the engine without connecting. Raises `UnsafeDatabase` for SQLite on a network file system."""
    url = make_url(settings.database)
    if url.get_backend_name() != "sqlite":
        engine = create_sqlalchemy_engine(
            url, pool_size=20, max_overflow=20, pool_pre_ping=True, pool_recycle=1800, connect_args=_POSTGRESQL
        )
        read_any_time(engine)
        return engine
    if url.database:
        folder = Path(url.database).parent
        folder.mkdir(parents=True, exist_ok=True)
        refuse_network(folder)
    engine = create_sqlalchemy_engine(url)
    use_safely(engine)
    return engine


def create_sessions(settings: Settings) -> Sessions:
    """Create the session factory; a unit of work is `with sessions.begin() as session`."""
    return sessionmaker(create_engine(settings), expire_on_commit=False)


def transact(sessions: Sessions, work: Callable[[Session], Found]) -> Found:
    """Do one unit of work in a transaction and return its result.

    If the connection is lost or the database requests a retry, the work is repeated, for up to three attempts. A lost
    connection may also hide a successful commit, so `work` must be correct when repeated.
    """
    for pause in _PAUSES:
        try:
            with sessions.begin() as session:
                return work(session)
        except DBAPIError as error:
            if not _is_transient(error):
                raise
            _log.warning("transaction_repeated", error=repr(error.orig))
        time.sleep(pause)
    with sessions.begin() as session:
        return work(session)


def is_full_database(error: Exception) -> bool:
    """Return whether the error means that the database's disk is full."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return error.orig.sqlite_errorcode == sqlite3.SQLITE_FULL
    return getattr(error.orig, "sqlstate", None) == _DISK_FULL


def is_refused(error: Exception) -> bool:
    """Return whether the database or its driver rejected the values, so that a retry would fail again."""
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError | ProgrammingError | NotSupportedError)
    return isinstance(error, StatementError | ValueError | TypeError)


def rows_changed(session: Session, statement: Update | Delete) -> int:
    """Execute a change; return the number of rows hit."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount


def insert_into(session: Session, table: type[DeclarativeBase]) -> sqlite.Insert | postgresql.Insert:
    """Return an insert that supports `ON CONFLICT`."""
    return sqlite.insert(table) if _is_sqlite(session) else postgresql.insert(table)


def current_time(session: Session) -> datetime:
    """Return the time of the database's clock, so that the clocks of several machines do not matter."""
    if _is_sqlite(session):
        text = session.scalar(select(func.strftime(_SQLITE_NOW, "now")))
        return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)
    found: datetime = session.scalars(select(func.clock_timestamp())).one()
    return found.astimezone(UTC)


def migrate(settings: Settings, revision: str = "head") -> None:
    """Upgrade the schema to `revision`. Raises `SchemaError` for the schema of a later version."""
    engine = create_engine(settings)
    with engine.begin() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        if _is_later(found):
            raise SchemaError(_of_later_version(found))
        if found != _revision(revision):
            configuration = _configuration()
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, revision)
    engine.dispose()


def check_schema(engine: Engine, *, or_later: bool = False) -> None:
    """Raise `SchemaError` unless the schema is exactly this version's, `UnsafeDatabase` if the file is damaged.

    With `or_later`, the schema of a later version is accepted too.
    """
    if engine.dialect.name == "sqlite":
        check_integrity(engine)
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if _is_later(found):
        if not or_later:
            raise SchemaError(_of_later_version(found))
        return
    expected = _revision("head")
    if found != expected:
        raise SchemaError(
            f"The database schema is at {found or 'nothing'}, not at {expected}; run `nern migrate` first."
        )


def _is_later(revision: str | None) -> bool:
    """Return whether a schema is unknown to this version, so of a later one."""
    scripts = ScriptDirectory.from_config(_configuration())
    return revision is not None and all(script.revision != revision for script in scripts.walk_revisions())


def _of_later_version(revision: str | None) -> str:
    return f"The database schema is at {revision}, which a later version created; use that version."


@cache
def _revision(name: str) -> str:
    """Resolve a name such as `head` to a revision."""
    return ScriptDirectory.from_config(_configuration()).get_revision(name).revision


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS))
    return configuration


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _is_transient(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return error.orig.sqlite_errorcode == sqlite3.SQLITE_BUSY
    state = getattr(error.orig, "sqlstate", None)
    # A refused or broken connection has no state.
    unreachable = isinstance(error.orig, psycopg.OperationalError) and state is None
    return error.connection_invalidated or unreachable or (state or "").startswith(_TRANSIENT)
