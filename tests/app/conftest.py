import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app.access.service import ApiKeyService
from app.db.engine import create_sessions
from app.db.schema import migrate
from app.db.transactions import Sessions
from app.jobs.repository import JobRepository, NewJob
from app.main import create_app
from app.settings import Authentication, Settings
from tests.conftest import EXAMPLE


@contextmanager
def serving(settings: Settings, *, address: str = "127.0.0.1") -> Iterator[TestClient]:
    """The API in this process, and a client on this machine."""
    migrate(settings)
    with TestClient(
        create_app(settings), f"http://{address}", raise_server_exceptions=False, client=(address, 50000)
    ) as client:
        yield client


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """The API in this process, in both modes."""
    with serving(settings) as client:
        yield client


@pytest.fixture
def embedded_client(embedded: Settings) -> Iterator[TestClient]:
    """The API in this process, in the embedded mode."""
    with serving(embedded) as client:
        yield client


@pytest.fixture
def with_keys(settings: Settings) -> Settings:
    """Settings of a service that needs keys, in both modes."""
    return settings.model_copy(update={"authentication": Authentication.KEYS})


@pytest.fixture
def keys(with_keys: Settings) -> Iterator[ApiKeyService]:
    """The keys of that service."""
    migrate(with_keys)
    sessions = create_sessions(with_keys)
    yield ApiKeyService(sessions)
    sessions.kw["bind"].dispose()


@pytest.fixture
def ten_jobs(settings: Settings) -> Iterator[Sessions]:
    """A database with the jobs `job_0` to `job_9` of the tenant `acme`."""
    migrate(settings)
    sessions = create_sessions(settings)
    with sessions.begin() as session:
        for number in range(10):
            JobRepository(session).add(
                NewJob(
                    id=f"job_{number}",
                    tenant="acme",
                    device="cpu",
                    options={},
                    checkpoint_sha256="c" * 64,
                    checkpoint_bytes=5,
                )
            )
    yield sessions
    sessions.kw["bind"].dispose()


def submit(
    client: TestClient,
    options: Any = None,
    checkpoint: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    """Send a checkpoint, the example by default; `options` are JSON or text as it is."""
    data = {} if options is None else {"options": options if isinstance(options, str) else json.dumps(options)}
    content = EXAMPLE.read_bytes() if checkpoint is None else checkpoint
    return client.post("/jobs", files={"checkpoint": ("model.bin", content)}, data=data, headers=headers)


def stored_files(settings: Settings) -> list[Path]:
    """All files in the artifact store, finished or not."""
    return [path for path in settings.artifacts.rglob("*") if path.is_file() and path.name != "lock"]
