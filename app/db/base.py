"""The declarative base of all tables, and their types of columns."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, MetaData, TypeDecorator
from sqlalchemy.orm import DeclarativeBase

from app.db.times import in_utc, nearest


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite itself stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a time to UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a stored time to UTC."""
        return None if value is None else in_utc(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        """Read any time; SQLite stores times as text, which may be of another form."""
        process = super().result_processor(dialect, coltype)
        if process is None or dialect.name != "sqlite":
            return process

        def process_text(value: object) -> datetime | None:
            try:
                return process(value)
            except (TypeError, ValueError):
                return nearest(str(value))

        return process_text


class JsonObject(TypeDecorator[dict[str, Any]]):
    """A JSON object; None if another release has stored something else."""

    impl = JSON
    cache_ok = True

    def process_result_value(self, value: object, dialect: Dialect) -> dict[str, Any] | None:
        """Keep objects only."""
        return value if isinstance(value, dict) else None


class Base(DeclarativeBase):
    """Base of all tables; constraints are named by one convention, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "pk": "%(table_name)s_pkey",
        }
    )
