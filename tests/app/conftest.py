import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app.database import migrate
from app.main import create_app
from app.settings import Settings
from tests.conftest import EXAMPLE


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """The API in this process, in both modes."""
    migrate(settings)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def embedded_client(embedded: Settings) -> Iterator[TestClient]:
    """The API in this process, in the embedded mode."""
    migrate(embedded)
    with TestClient(create_app(embedded), raise_server_exceptions=False) as client:
        yield client


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
