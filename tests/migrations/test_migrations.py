from datetime import UTC, datetime

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, Table, inspect, select, text
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.engine import create_engine
from app.db.schema import SchemaError, check_schema, migrate
from app.jobs.models import ArtifactUse, Job
from app.kit.tenants import DEFAULT_TENANT
from app.settings import Settings
from tests.conftest import ROOT


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
        for job_id, artifacts in (
            ("job_1", '{"a": {"bytes": 3, "sha256": "a"}, "b": {"bytes": 4, "sha256": "b"}}'),
            ("job_2", None),
        ):
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


def test_the_jobs_from_before_use_their_checkpoints_and_results(settings: Settings) -> None:
    migrate(settings, "0001")
    engine = create_engine(settings)
    with engine.begin() as connection:
        metadata = MetaData()
        jobs = Table("jobs", metadata, autoload_with=connection)
        job = {"status": "queued", "device": "cpu", "options": {}, "checkpoint_bytes": 1, "attempt": 0, "releases": 0}
        job |= {"announcements": 0, "created_at": datetime.now(UTC)}
        artifacts = {name: {"sha256": digest, "bytes": 1} for name, digest in (("x", "a"), ("y", "b"), ("z", "a"))}
        connection.execute(jobs.insert().values(**job, id="without", checkpoint_sha256="a", artifacts=None))
        connection.execute(jobs.insert().values(**job, id="with", checkpoint_sha256="d", artifacts=artifacts))
    migrate(settings)
    with Session(engine) as session:
        uses = {(use.job_id, use.sha256) for use in session.scalars(select(ArtifactUse))}
        assert session.scalars(select(Job.data_removed)).all() == [False, False]
    engine.dispose()
    assert uses == {("without", "a"), ("with", "a"), ("with", "b"), ("with", "d")}


def test_the_jobs_from_before_there_were_kinds_are_encodings_and_reconstructions_are_not_taken_back(
    settings: Settings,
) -> None:
    migrate(settings, "0007")
    engine = create_engine(settings)
    insert = (
        "INSERT INTO jobs (id, tenant, status, device, options, checkpoint_sha256, checkpoint_bytes, attempt, releases,"
        " announcements, result_bytes, data_removed, created_at{more}) VALUES ('{id}', 't', 'queued', 'cpu', '{{}}',"
        " 'c', 1, 0, 0, 0, 0, false, '2026-01-01'{value})"
    )
    with engine.begin() as connection:
        connection.execute(text(insert.format(id="job_1", more="", value="")))
    migrate(settings)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT id, kind FROM jobs")).all() == [("job_1", "encoding")]
        connection.execute(text(insert.format(id="job_2", more=", kind", value=", 'reconstruction'")))
        for job_id in ("job_1", "job_2"):
            connection.execute(text(f"INSERT INTO artifact_uses (job_id, sha256) VALUES ('{job_id}', 'c')"))
        configuration = Config()
        configuration.set_main_option("script_location", str(ROOT / "migrations"))
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "0007")
        for column, table in (("id", "jobs"), ("job_id", "artifact_uses")):
            assert connection.execute(text(f"SELECT {column} FROM {table}")).all() == [("job_1",)]
    engine.dispose()


def test_the_migration_of_uploads_can_be_undone_and_done_again(settings: Settings) -> None:
    migrate(settings)
    engine = create_engine(settings)
    configuration = Config()
    configuration.set_main_option("script_location", str(ROOT / "migrations"))
    with engine.begin() as connection:
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "0002")
    assert "uploads" not in inspect(engine).get_table_names()
    migrate(settings)
    check_schema(engine)
    engine.dispose()


def columns(settings: Settings) -> dict[str, dict[str, bool]]:
    """Return the columns of every table, each with true if a row can be inserted without a value for it."""
    engine = create_engine(settings)
    inspected = inspect(engine)
    found = {
        table: {
            column["name"]: bool(column["nullable"] or column["default"] is not None)
            for column in inspected.get_columns(table)
        }
        for table in inspected.get_table_names()
    }
    engine.dispose()
    return found


def test_processes_of_the_version_before_go_on_working_beside_a_migrated_database(embedded: Settings) -> None:
    scripts = ScriptDirectory(str(ROOT / "migrations"))
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    # The first migrations have no earlier schema to upgrade from.
    migrate(embedded, "0003")
    for revision in revisions[revisions.index("0003") + 1 :]:
        before = columns(embedded)
        migrate(embedded, revision)
        after = columns(embedded)
        for table, known in before.items():
            assert known.keys() <= after[table].keys(), f"{revision} takes a column of {table} away"
            added = {name for name in after[table].keys() - known.keys() if not after[table][name]}
            assert added == set(), f"{revision} wants values in {table} that the version before does not know of"
