import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from app.access.caller import DEFAULT_TENANT
from app.database import SchemaError, check_schema, create_engine, migrate
from app.jobs.models import Base
from app.settings import Settings


def test_the_migrations_make_the_tables_that_the_models_describe(settings: Settings) -> None:
    migrate(settings)
    engine = create_engine(settings)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    engine.dispose()
    assert differences == []


def test_migrating_twice_changes_nothing(settings: Settings) -> None:
    migrate(settings)
    migrate(settings)
    engine = create_engine(settings)
    check_schema(engine)
    engine.dispose()


def test_an_empty_database_is_refused(settings: Settings) -> None:
    engine = create_engine(settings)
    with pytest.raises(SchemaError, match="run `nern migrate` first"):
        check_schema(engine)
    assert inspect(engine).get_table_names() == []
    engine.dispose()


def test_the_jobs_from_before_there_were_tenants_are_the_default_tenants(settings: Settings) -> None:
    migrate(settings, "0001")
    engine = create_engine(settings)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO jobs (id, status, device, options, checkpoint_sha256, checkpoint_bytes, attempt, releases,"
                " announcements, created_at) VALUES ('job_1', 'queued', 'cpu', '{}', 'c', 1, 0, 0, 0, '2026-01-01')"
            )
        )
    migrate(settings)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id, tenant FROM jobs")).all() == [("job_1", DEFAULT_TENANT)]
    engine.dispose()


def test_the_results_that_there_are_are_added_up(settings: Settings) -> None:
    migrate(settings, "0001")
    engine = create_engine(settings)
    with engine.begin() as connection:
        for job_id, artifacts in (("job_1", '{"a": {"bytes": 3}, "b": {"bytes": 4}}'), ("job_2", None)):
            connection.execute(
                text(
                    "INSERT INTO jobs (id, status, device, options, checkpoint_sha256, checkpoint_bytes, attempt,"
                    " releases, announcements, created_at, artifacts)"
                    " VALUES (:id, 'queued', 'cpu', '{}', 'c', 1, 0, 0, 0, '2026-01-01', :artifacts)"
                ),
                {"id": job_id, "artifacts": artifacts},
            )
    migrate(settings)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT id, result_bytes FROM jobs ORDER BY id")).all()
    assert found == [("job_1", 7), ("job_2", 0)]
    engine.dispose()
