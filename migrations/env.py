"""Alembic's entry point: `alembic upgrade head`, or a connection from the caller."""

from alembic import context
from sqlalchemy import Connection

import app.access.models
import app.accounting.models
import app.datasets.models
import app.jobs.deliveries.models
import app.jobs.events.models
import app.retention.models
import app.uploads.models
import app.webhooks.models
import app.workers.models  # noqa: F401 # their tables belong to the metadata
from app.db.base import Base
from app.db.engine import create_engine
from app.settings import Settings


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite cannot alter a table in place.
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            # Fail rather than queue behind a long transaction and block everybody else.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _migrate(given)
else:
    with create_engine(Settings()).begin() as connection:
        _migrate(connection)
