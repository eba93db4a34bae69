"""Connections to PostgreSQL that read every timestamp.

A value that Python cannot represent must not fail a query of many rows.
"""

from datetime import datetime

from psycopg import DataError
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestamptzLoader
from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from app.db.times import nearest


def read_any_time(engine: Engine) -> None:
    """Let each connection of the engine read `infinity`, and years before 1 or after 9999, as the nearest time."""
    event.listen(engine, "connect", _prepare)


def _prepare(connection: object, entry: ConnectionPoolEntry) -> None:
    connection.adapters.register_loader("timestamptz", _AnyTime)  # type: ignore[attr-defined] # psycopg's connection


class _AnyTime(TimestamptzLoader):
    def load(self, data: Buffer) -> datetime:
        """Parse the text of a time, in the usual form without psycopg's slower parser."""
        text = bytes(data).decode()
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
        try:
            return super().load(data)
        except DataError:
            return nearest(text)
