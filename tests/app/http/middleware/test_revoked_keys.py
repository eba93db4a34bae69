"""Requests end within a second after their key is revoked."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient
from starlette.types import Message

from app.access.key_watch import KeyWatch, WatchedKey
from app.access.service import ApiKeyService
from app.access.token import Token
from app.kit.problems import Problem
from app.settings import Settings
from tests.app.conftest import serving, submit
from tests.app.routes.test_authentication import BOTH, bearer
from tests.app.test_one_tenant_and_others import Hanging, hanging, over, until
from tests.conftest import EXAMPLE

__all__ = ["hanging", "over"]
CONTENT = EXAMPLE.read_bytes()


@pytest.fixture
def client(with_keys: Settings, keys: ApiKeyService) -> Iterator[TestClient]:
    with serving(with_keys.model_copy(update={"outbound_networks": (ip_network("127.0.0.0/8"),)})) as client:
        yield client


@pytest.fixture
def token(keys: ApiKeyService) -> Token:
    return keys.create("acme", BOTH)


def ends_with_key(
    client: TestClient, keys: ApiKeyService, token: Token, request: Callable[[], httpx2.Response]
) -> tuple[httpx2.Response, float]:
    """Begin a long request, revoke its key; return the answer and the seconds until it ended."""
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(request)
        until(lambda: client.app.state.services.key_watch._watched)  # type: ignore[attr-defined] # it has a state
        time.sleep(0.3)
        assert not answer.done()
        keys.revoke(token.key_id)
        start = time.monotonic()
        return answer.result(20), time.monotonic() - start


def test_a_stream_of_events_ends(client: TestClient, keys: ApiKeyService, token: Token) -> None:
    headers = bearer(token.reveal())
    job_id = client.post("/jobs", files={"checkpoint": CONTENT}, headers=headers).json()["id"]

    def follow() -> httpx2.Response:
        return client.get(f"/jobs/{job_id}/events", headers=headers | {"Accept": "text/event-stream"})

    answer, seconds = ends_with_key(client, keys, token, follow)
    assert answer.text.startswith("retry: ")
    assert "event: end" not in answer.text
    # On a busy machine a little longer.
    assert seconds < 5


def test_a_poll_that_waits_ends(client: TestClient, keys: ApiKeyService, token: Token) -> None:
    headers = bearer(token.reveal())
    job_id = client.post("/jobs", files={"checkpoint": CONTENT}, headers=headers).json()["id"]
    answer, seconds = ends_with_key(
        client, keys, token, lambda: client.get(f"/jobs/{job_id}", headers=headers | {"Prefer": "wait=60"})
    )
    assert (answer.status_code, answer.json()["type"]) == (401, "revoked-key")
    assert seconds < 5


def test_a_fetch_ends(client: TestClient, keys: ApiKeyService, token: Token, hanging: Hanging) -> None:
    document = {"checkpoint": {"url": f"{hanging.url}/silent"}}
    answer, seconds = ends_with_key(
        client, keys, token, lambda: client.post("/jobs", json=document, headers=bearer(token.reveal()))
    )
    assert (answer.status_code, answer.json()["type"]) == (401, "revoked-key")
    assert seconds < 5


@pytest.mark.parametrize("path", ["/jobs", "/checkpoints", "/datasets?name=small"])
def test_an_upload_ends(client: TestClient, keys: ApiKeyService, token: Token, path: str) -> None:
    sent: list[Message] = []
    begun = threading.Event()
    headers = bearer(token.reveal()) | {"content-type": "multipart/form-data; boundary=x", "content-length": "100000"}
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path.partition("?")[0],
        "raw_path": path.encode(),
        "query_string": path.partition("?")[2].encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> Message:
        if not begun.is_set():
            begun.set()
            return {"type": "http.request", "body": b"--x\r\n", "more_body": True}
        await asyncio.sleep(20)
        raise AssertionError("the upload goes on")

    async def send(message: Message) -> None:
        sent.append(message)

    async def upload() -> None:
        await client.app(scope, receive, send)

    assert client.portal is not None
    portal = client.portal
    with ThreadPoolExecutor(1) as threads:
        uploading = threads.submit(portal.call, upload)
        assert begun.wait(10), sent
        keys.revoke(token.key_id)
        start = time.monotonic()
        uploading.result(15)
    assert time.monotonic() - start < 5
    assert sent[0]["status"] == 401
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["type"] == "revoked-key"


def test_a_key_that_stays_good_interrupts_nothing_and_a_lost_database_neither() -> None:
    answers: list[object] = []

    def fail(tokens: object) -> Any:
        answers.append(tokens)
        raise OSError("the database is gone")

    async def wait() -> str:
        watch, key = KeyWatch(fail), WatchedKey()
        key.begin(watch, Token.new())
        async with key.interrupting():
            await asyncio.sleep(0.7)
        key.end()
        return "waited"

    assert asyncio.run(wait()) == "waited"
    assert answers


def test_what_is_asked_after_the_refusal_is_refused_at_once() -> None:
    key = WatchedKey()
    refusal = Problem(HTTPStatus.UNAUTHORIZED, "revoked-key", "The key was revoked.")
    key.refuse(refusal)

    async def wait() -> None:
        async with key.interrupting():
            await asyncio.sleep(20)

    with pytest.raises(Problem) as raised:
        asyncio.run(wait())
    assert raised.value is refusal


def test_requests_that_are_over_are_watched_no_more(client: TestClient, token: Token) -> None:
    client.headers.update(bearer(token.reveal()))
    submit(client)
    assert client.app.state.services.key_watch._watched == {}  # type: ignore[attr-defined] # an application has a state
