"""One running service for all tests of a process; each test is a tenant of its own.

Tests that stop, kill or configure a service start their own.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.db.engine import create_sessions
from app.db.transactions import Sessions
from app.settings import Authentication, Settings
from tests.app.tracing.collector import Collector, collecting
from tests.databases import postgres_database, unused_redis
from tests.first_job import FirstJob, run_first_job
from tests.paths import DIGITS
from tests.processes import Client, Service


@dataclass(frozen=True)
class Tenant:
    """A tenant: a key for everything, and a client that sends it."""

    key: str
    client: Client

    def cancel_jobs(self) -> None:
        """Cancel the active jobs, so that the worker is free for the next test."""
        for job in self.client.get("/jobs")["items"]:
            if job["status"] in {"queued", "running"}:
                self.client.http.post(job["links"]["cancel"])


def new_key(sessions: Sessions) -> str:
    """Create a tenant with a key for everything; return the key."""
    return ApiKeyService(sessions).create(f"tenant-{secrets.token_hex(6)}", tuple(Scope)).reveal()


@contextmanager
def tenant_of(sessions: Sessions, port: int) -> Iterator[Tenant]:
    """Create a tenant of the service on this port; at the end, cancel its jobs."""
    key = new_key(sessions)
    with Client(port, key) as client:
        tenant = Tenant(key, client)
        yield tenant
        tenant.cancel_jobs()


class SharedService:
    """A running API that needs keys. Its worker starts with the first job."""

    def __init__(self, settings: Settings, collector: Collector, stack: ExitStack, logs: Path) -> None:
        self.settings = settings.model_copy(
            update={"authentication": Authentication.KEYS, "otlp_endpoint": collector.url}
        )
        self.collector = collector
        self.sessions = create_sessions(settings)
        stack.callback(self.sessions.kw["bind"].dispose)
        self._stack = stack
        self._processes = Service(self.settings, stack, logs)
        self._api = self._processes.start_api()

    @property
    def port(self) -> int:
        """Port of the API."""
        return self._processes.port

    def run_first_job(self) -> FirstJob:
        """Start the worker with a job that has waited for it."""
        tenant = self._stack.enter_context(tenant_of(self.sessions, self.port))
        return run_first_job(tenant.client, self._api.pid, lambda: self._processes.start_worker().pid)


@contextmanager
def _running(settings: Settings, logs: Path) -> Iterator[SharedService]:
    with collecting() as collector, ExitStack() as stack:
        yield SharedService(settings, collector, stack, logs)


@pytest.fixture(scope="session")
def embedded_service(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[SharedService]:
    """The service of this process in the embedded mode."""
    folder = tmp_path_factory.mktemp("embedded")
    settings = Settings(data_dir=folder / "data")
    settings.data_dir.mkdir()
    shutil.copyfile(migrated_sqlite, settings.database.removeprefix("sqlite:///"))
    with _running(settings, folder) as service:
        yield service


@pytest.fixture(scope="session")
def production_service(tmp_path_factory: pytest.TempPathFactory, migrated_postgres: str) -> Iterator[SharedService]:
    """The service of this process with PostgreSQL and Redis."""
    folder = tmp_path_factory.mktemp("production")
    with postgres_database(migrated_postgres) as url, unused_redis() as broker:
        settings = Settings(data_dir=folder / "data", database_url=url, dataset_roots=(DIGITS.parent,), **broker)
        with _running(settings, folder) as service:
            yield service


@pytest.fixture(params=["embedded", pytest.param("production", marks=pytest.mark.production)])
def shared(request: pytest.FixtureRequest) -> SharedService:
    """The service of this process, in both modes."""
    service: SharedService = request.getfixturevalue(f"{request.param}_service")
    return service


@pytest.fixture(scope="session")
def embedded_job(embedded_service: SharedService) -> FirstJob:
    """The first job in the embedded mode."""
    return embedded_service.run_first_job()


@pytest.fixture(scope="session")
def production_job(production_service: SharedService) -> FirstJob:
    """The first job in the production mode."""
    return production_service.run_first_job()


@pytest.fixture
def first_job(request: pytest.FixtureRequest, shared: SharedService) -> FirstJob:
    """A finished job of the shared service, whose worker is running since then."""
    job: FirstJob = request.getfixturevalue("embedded_job" if shared.settings.embedded else "production_job")
    return job


@pytest.fixture
def tenant(shared: SharedService) -> Iterator[Tenant]:
    """A tenant of the shared service for one test."""
    with tenant_of(shared.sessions, shared.port) as tenant:
        yield tenant
