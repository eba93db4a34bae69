"""The schema of the database: migration to this version, and the check at startup, with one-sentence errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from app.db.engine import create_engine
from app.db.sqlite import UnsafeDatabase, check_integrity
from app.settings import Settings
from nern_core.contract.errors import NernError

_MIGRATIONS = Path(__file__).parents[2] / "migrations"


class SchemaError(Exception):
    """The database has the schema of another version."""


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
