"""Startup checks of the database, with one-sentence errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError

from app.db.engine import SchemaError, check_schema, create_engine
from app.db.sqlite import UnsafeDatabase
from app.settings import Settings
from nern_core.contract.errors import NernError


def require_schema(settings: Settings, *, or_later: bool = False) -> None:
    """Raise `NernError` (`other_schema`, `no_database`, `unsafe_database`) unless the database exists and is migrated.

    With `or_later`, the schema of a later version is accepted too, as it occurs during an upgrade.
    """
    with database_errors_told():
        engine = create_engine(settings)
        try:
            check_schema(engine, or_later=or_later)
        finally:
            engine.dispose()


@contextmanager
def database_errors_told() -> Iterator[None]:
    """Convert errors of the database as a whole to `NernError`."""
    try:
        yield
    except SchemaError as error:
        raise NernError("other_schema", str(error)) from error
    except UnsafeDatabase as error:
        raise NernError("unsafe_database", str(error)) from error
    except OperationalError as error:
        raise NernError("no_database", "The database cannot be reached; check NERN_DATABASE_URL.") from error
