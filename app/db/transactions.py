"""Transactions: units of work, repeated if the connection is lost, and what the databases write differently."""

import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import psycopg
import structlog
from sqlalchemy import CursorResult, func, select
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

_SQLITE_NOW = "%Y-%m-%d %H:%M:%f"
# Classes of SQLSTATE: connection exceptions, the server shuts down, serialization failures and deadlocks.
_TRANSIENT = ("08", "57P", "40001", "40P01")
_DISK_FULL = "53100"
_PAUSES = (0.1, 0.5)
# Raised by any query while the database does not answer.
DATABASE_LOST = (OperationalError, InterfaceError, NoConnection)
_log = structlog.get_logger()

Found = TypeVar("Found")
Sessions = sessionmaker[Session]


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


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _is_transient(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return error.orig.sqlite_errorcode == sqlite3.SQLITE_BUSY
    state = getattr(error.orig, "sqlstate", None)
    # A refused or broken connection has no state.
    unreachable = isinstance(error.orig, psycopg.OperationalError) and state is None
    return error.connection_invalidated or unreachable or (state or "").startswith(_TRANSIENT)
