"""The engine of the database, for SQLite and PostgreSQL alike."""

from pathlib import Path

from sqlalchemy import Engine, make_url
from sqlalchemy import create_engine as create_sqlalchemy_engine
from sqlalchemy.orm import sessionmaker

from app.db.postgresql import read_any_time
from app.db.sqlite import refuse_network, use_safely
from app.db.transactions import Sessions
from app.settings import Settings

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
