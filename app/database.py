"""The database: engine, sessions and migrations, for SQLite and PostgreSQL alike."""

from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, func, make_url, select
from sqlalchemy import create_engine as create_sqlalchemy_engine
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from app.settings import Settings

_MIGRATIONS = Path(__file__).parent.parent / "migrations"
_SQLITE_NOW = "%Y-%m-%d %H:%M:%f"
_SQLITE_PRAGMAS = (
    # Rollback journal: WAL can corrupt under several writers before SQLite 3.51.3 (and is not needed here).
    "PRAGMA journal_mode=DELETE",
    "PRAGMA synchronous=FULL",
    "PRAGMA busy_timeout=10000",
    "PRAGMA foreign_keys=ON",
)

Sessions = sessionmaker[Session]


class SchemaError(Exception):
    """The database's schema is not the one that this version works with."""


def create_engine(settings: Settings) -> Engine:
    """Create the engine; nothing is connected yet."""
    url = make_url(settings.database)
    if url.get_backend_name() != "sqlite":
        return create_sqlalchemy_engine(url, pool_pre_ping=True, pool_recycle=1800, connect_args={"connect_timeout": 5})
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_sqlalchemy_engine(url)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def create_sessions(settings: Settings) -> Sessions:
    """Create the factory of sessions; every unit of work is `with sessions.begin() as session`."""
    return sessionmaker(create_engine(settings), expire_on_commit=False)


def current_time(session: Session) -> datetime:
    """The database's own clock, so that those of several machines do not matter."""
    if session.get_bind().dialect.name == "sqlite":
        text = session.scalar(select(func.strftime(_SQLITE_NOW, "now")))
        return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)
    found: datetime = session.scalars(select(func.clock_timestamp())).one()
    return found


def migrate(settings: Settings, revision: str = "head") -> None:
    """Bring the schema up to date, or to an earlier revision."""
    engine = create_engine(settings)
    with engine.begin() as connection:
        configuration = _configuration()
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, revision)
    engine.dispose()


def check_schema(engine: Engine) -> None:
    """Raise `SchemaError` unless the schema is exactly this version's."""
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    expected = ScriptDirectory.from_config(_configuration()).get_current_head()
    if found != expected:
        raise SchemaError(
            f"The database schema is at {found or 'nothing'}, not at {expected}; run `nern migrate` first."
        )


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS))
    return configuration


def _prepare_sqlite(connection: object, entry: ConnectionPoolEntry) -> None:
    # The driver's own transaction handling starts them deferred, and an upgrade of the lock then fails at once.
    connection.isolation_level = None  # type: ignore[attr-defined]
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
