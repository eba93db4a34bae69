"""Fixtures for all packages: the real data, and the two backends of the service."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import sqlalchemy
from pydantic import AnyHttpUrl
from sqlalchemy.orm import Session

from app.db.engine import create_engine
from app.db.schema import migrate
from app.settings import Authentication, Settings
from app.storage.s3 import requests
from tests.budget import Budget
from tests.chaos.proxy import proxy_to
from tests.databases import EmptiedDatabase, postgres_database, unused_redis
from tests.mlflow_server import mlflow_url, registered_model, tracking
from tests.paths import DIGITS, EXAMPLE, ROOT
from tests.s3 import FaultyBucket, S3Server, bucket_settings
from tests.shared_service import (
    embedded_job,
    embedded_service,
    first_job,
    production_job,
    production_service,
    shared,
    tenant,
)

__all__ = ["DIGITS", "EXAMPLE", "ROOT", "mlflow_url", "registered_model", "tracking"]
__all__ += ["embedded_job", "embedded_service", "first_job", "production_job", "production_service", "shared", "tenant"]


@dataclass(frozen=True)
class RealCheckpoints:
    """The public networks and the data for slow tests."""

    checkpoints: Path
    cifar10: Path


# A loaded machine takes longer for an example than any deadline allows.
hypothesis.settings.register_profile("nern", deadline=None)
hypothesis.settings.load_profile("nern")


def pytest_configure(config: pytest.Config) -> None:
    """Limit the time of tests, and let signals end processes as in a terminal."""
    config.pluginmanager.register(Budget())
    # In the background and under `nohup` they would be ignored.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort files with slow tests first, so that at the end no process waits for another one's long file."""
    for item in items:
        # Only `make test-all` has a moment without other tests; and all that is not slow is in `make test` anyway.
        if item.get_closest_marker("slow") is None and any(map(item.get_closest_marker, ("alone", "gate"))):
            raise pytest.UsageError(f"{item.nodeid}: mark with 'slow' what is marked with 'alone' or 'gate'")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def real() -> RealCheckpoints:
    """Real checkpoints and CIFAR-10 in the folder NERN_TEST_ASSETS; without it the test is skipped."""
    folder = Path(os.environ.get("NERN_TEST_ASSETS", ROOT.parent / "shared"))
    found = RealCheckpoints(folder / "checkpoints", folder / "data" / "cifar10")
    if not (found.checkpoints / "cifar10-resnet20.th").is_file() or not (found.cifar10 / "test.npz").is_file():
        pytest.skip(f"no public checkpoints and CIFAR-10 in {folder}; NERN_TEST_ASSETS names another folder")
    return found


@pytest.fixture(scope="session")
def migrated_postgres() -> Iterator[str]:
    """Name of a PostgreSQL database with the schema; nobody connects to it, so it can be copied."""
    with postgres_database() as url:
        migrate(Settings(database_url=url))
        yield str(sqlalchemy.make_url(url).database)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("migrated"))
    migrate(settings)
    return Path(settings.database.removeprefix("sqlite:///"))


@pytest.fixture(scope="session")
def emptied_postgres(migrated_postgres: str) -> Iterator[EmptiedDatabase]:
    """The PostgreSQL database of this process, with the schema."""
    with postgres_database(migrated_postgres) as url:
        yield EmptiedDatabase(url)


@pytest.fixture
def postgres_url(emptied_postgres: EmptiedDatabase) -> str:
    """The PostgreSQL database of this process, with the schema and no rows."""
    emptied_postgres.empty()
    return emptied_postgres.url


@pytest.fixture
def redis_settings() -> Iterator[dict[str, Any]]:
    """Settings for an unused part of the Redis server."""
    with unused_redis() as settings:
        yield settings


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server shared by all tests; each has its own bucket."""
    server = S3Server(tmp_path_factory.mktemp("s3") / "log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def with_bucket(s3_server: S3Server, tmp_path: Path) -> Settings:
    """Settings of the embedded mode, with a bucket for artifacts."""
    return Settings(data_dir=tmp_path / "data", **bucket_settings(s3_server.url, s3_server.make_bucket()))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make clients of buckets give up soon."""
    monkeypatch.setattr(requests, "ANSWERING", requests.TimeLimits(timedelta(seconds=2), timedelta(seconds=2)))
    monkeypatch.setattr(requests, "CARRYING", requests.TimeLimits(timedelta(seconds=5), timedelta(seconds=2)))


@pytest.fixture
def faulty(with_bucket: Settings, s3_server: S3Server, impatient: None) -> Iterator[FaultyBucket]:
    """A bucket that can be made unreachable."""
    with proxy_to(s3_server.port) as proxy:
        address = AnyHttpUrl(f"http://127.0.0.1:{proxy.port}")
        yield FaultyBucket(with_bucket.model_copy(update={"s3_endpoint": address}), proxy)


@pytest.fixture(params=["embedded", pytest.param("production", marks=pytest.mark.production)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of both modes: SQLite and folders, PostgreSQL and Redis. The databases have the schema."""
    if request.param == "embedded":
        embedded: Settings = request.getfixturevalue("embedded")
        return embedded
    return Settings(
        data_dir=tmp_path / "data",
        database_url=request.getfixturevalue("postgres_url"),
        **request.getfixturevalue("redis_settings"),
        dataset_roots=(DIGITS.parent,),
        # Tests of keys create some; all others use a service without keys on this machine.
        authentication=Authentication.NONE,
    )


@contextmanager
def transaction(settings: Settings) -> Iterator[Session]:
    """A transaction on the database of a test."""
    engine = create_engine(settings)
    try:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session
    finally:
        engine.dispose()


@pytest.fixture
def embedded(tmp_path: Path, migrated_sqlite: Path) -> Settings:
    """Settings of the embedded mode. The database has the schema."""
    settings = Settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    shutil.copyfile(migrated_sqlite, settings.database.removeprefix("sqlite:///"))
    return settings
