"""The real API on a port of this process, and wires to it that inject faults on demand."""

import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import uvicorn

from app.db.engine import create_sessions
from app.db.schema import migrate
from app.db.transactions import Sessions
from app.jobs.repository import JobRepository
from app.jobs.transitions import Claim
from app.main import create_app
from app.settings import Authentication, Settings
from app.storage import StoredArtifact, open_store
from nern_client import Client, Retries
from tests.conftest import transaction
from tests.nern_client.wire import Wire, wire_to
from tests.shared_service import new_key

QUICK = Retries(first_pause=0.01, longest_pause=0.05)
METRICS = {
    "source_bytes": 100,
    "file_bytes": 50,
    "predictor_bytes": 40,
    "permutation_bytes": 4,
    "kept_bytes": 4,
    "ratio": 2.0,
    "relative_error": 0.1,
    "original_accuracy": None,
    "reconstructed_accuracy": None,
    "seconds": {"total": 1.5},
}


@contextmanager
def listening(settings: Settings) -> Iterator[int]:
    """Run the API on a free port, and yield the port."""
    migrate(settings)
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@dataclass(frozen=True)
class Api:
    """An API in this process that needs keys."""

    settings: Settings
    port: int
    sessions: Sessions


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Api]:
    """The API of all tests of this process that need no other settings; each test has its own tenant."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("api"),
        authentication=Authentication.KEYS,
        # As in a service without keys.
        requests_per_minute=0,
        max_active_jobs=0,
    )
    shutil.copyfile(migrated_sqlite, settings.database.removeprefix("sqlite:///"))
    sessions = create_sessions(settings)
    with listening(settings) as port:
        yield Api(settings, port, sessions)
    sessions.kw["bind"].dispose()


@pytest.fixture
def served(api: Api) -> Settings:
    """Settings of that API."""
    return api.settings


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and a clean environment for each test."""
    for name in ("NERN_URL", "NERN_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wire(api: Api, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A wire to that API. Clients take the key of the test's tenant from the environment."""
    monkeypatch.setenv("NERN_API_KEY", new_key(api.sessions))
    with wire_to(api.port) as wire:
        yield wire


@pytest.fixture
def client(wire: Wire) -> Iterator[Client]:
    """A client with short pauses."""
    with Client(wire.url, retries=QUICK) as client:
        yield client


def claim(settings: Settings, job_id: str) -> Claim:
    """Claim a job like a worker."""
    with transaction(settings) as session:
        found = JobRepository(session).claim(job_id, timedelta(seconds=30))
    assert found is not None
    return found


def succeed(settings: Settings, job_id: str, results: Mapping[str, bytes]) -> None:
    """Do the work of a worker for a succeeding job."""
    publish(settings, job_id, {name: store(settings, [content]) for name, content in results.items()})


def store(settings: Settings, parts: Iterable[bytes]) -> StoredArtifact:
    """Put a future result into the store."""
    with open_store(settings).writer() as writer:
        for part in parts:
            writer.write(part)
        return writer.commit()


def publish(settings: Settings, job_id: str, results: Mapping[str, StoredArtifact]) -> None:
    """Publish the stored results of a job like a worker."""
    begun = claim(settings, job_id)
    described = {name: artifact.described() for name, artifact in results.items()}
    with transaction(settings) as session:
        assert JobRepository(session).succeed(begun, METRICS, described)


def fail(settings: Settings, job_id: str, message: str = "The job needs more memory than there is.") -> None:
    """Do the work of a worker for a failing job."""
    begun = claim(settings, job_id)
    with transaction(settings) as session:
        assert JobRepository(session).fail(begun, "out_of_memory", message)
