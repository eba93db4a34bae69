import hashlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app.settings import Settings
from app.storage.folder import FolderStore
from tests.app.conftest import serving, stored_files
from tests.conftest import EXAMPLE

CONTENT = EXAMPLE.read_bytes()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """A file server with faults that depend on the path."""

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/model":
                self._send(CONTENT)
            case "/other":
                self._send(b"not a checkpoint at all")
            case "/unsized":
                self._send(CONTENT, sized=False)
            case "/short":
                self._send(CONTENT[:-4], length=len(CONTENT))
            case "/moved":
                self._redirect("/model?signed=1")
            case "/loop":
                self._redirect("/loop")
            case "/inside":
                self._redirect("http://10.0.0.1/secrets")
            case "/slow":
                self._send(b"x", length=100)
                time.sleep(3)
            case _:
                self.send_error(404)

    def _send(self, content: bytes, *, sized: bool = True, length: int | None = None) -> None:
        self.send_response(200)
        if sized:
            self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _redirect(self, location: str) -> None:
        self.send_response(302)
        self.send_header("Location", location)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the handler's own name
        pass


class Server(ThreadingHTTPServer):
    """A server whose clients may hang up."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def reaching(settings: Settings) -> Settings:
    """Settings of both modes that allow requests to loopback."""
    return settings.model_copy(
        update={"outbound_networks": (ip_network("127.0.0.0/8"),), "fetch_timeout": timedelta(seconds=1)}
    )


@pytest.fixture
def client(reaching: Settings) -> Iterator[TestClient]:
    with serving(reaching) as client:
        yield client


def submit_url(client: TestClient, url: str, **more: Any) -> httpx2.Response:
    return client.post("/jobs", json={"checkpoint": {"url": url, **more}, "options": {"steps": 10}})


@pytest.mark.parametrize("path", ["/model", "/unsized", "/moved"])
def test_a_checkpoint_is_fetched_into_the_store(client: TestClient, reaching: Settings, server: str, path: str) -> None:
    answer = submit_url(client, server + path)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["checkpoint"] == {"bytes": len(CONTENT), "sha256": DIGEST}
    assert job["options"]["steps"] == 10
    assert FolderStore(reaching.artifacts).path(DIGEST).read_bytes() == CONTENT


def test_a_checkpoint_with_the_announced_digest_is_taken(client: TestClient, server: str) -> None:
    assert submit_url(client, f"{server}/model", sha256=DIGEST).status_code == 202


def test_what_was_fetched_is_the_same_request_as_what_was_sent(client: TestClient, server: str) -> None:
    key = {"Idempotency-Key": '"k"'}
    sent = client.post("/jobs", files={"checkpoint": CONTENT}, headers=key).json()
    fetched = client.post("/jobs", json={"checkpoint": {"url": f"{server}/model"}}, headers=key).json()
    assert fetched["id"] == sent["id"]


FAULTS = [
    ("/missing", {}, "checkpoint-unreachable", "answers with the status 404"),
    ("/short", {}, "checkpoint-unreachable", "is incomplete"),
    ("/loop", {}, "checkpoint-unreachable", "redirects more than 5 times"),
    ("/slow", {}, "checkpoint-unreachable", "took longer than 1 seconds"),
    ("/inside", {}, "refused-address", "10.0.0.1 is not on the public internet"),
    ("/other", {}, "not-a-checkpoint", "neither a safetensors nor a torch checkpoint"),
    ("/model", {"sha256": "0" * 64}, "digest-mismatch", f"SHA-256 {DIGEST}"),
]


@pytest.mark.parametrize(("path", "more", "slug", "sentence"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_what_cannot_be_used_is_explained_and_not_kept(
    client: TestClient, reaching: Settings, server: str, path: str, more: dict[str, str], slug: str, sentence: str
) -> None:
    answer = submit_url(client, server + path, **more)
    assert (answer.status_code, answer.json()["type"]) == (422, slug)
    assert sentence in answer.json()["detail"]
    assert stored_files(reaching) == []


@pytest.mark.parametrize("path", ["/model", "/unsized"])
def test_a_file_over_the_limit_is_refused_by_its_length_and_by_count(
    reaching: Settings, server: str, path: str
) -> None:
    small = reaching.model_copy(update={"max_upload_bytes": len(CONTENT) - 1})
    with serving(small) as client:
        answer = submit_url(client, server + path)
    assert (answer.status_code, answer.json()["type"]) == (413, "checkpoint-too-large")
    assert stored_files(small) == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "https://10.0.0.1/x", "https://169.254.169.254/", "file:///etc/passwd", "x", ""]
)
def test_an_address_that_is_not_the_public_internets_is_refused(embedded_client: TestClient, url: str) -> None:
    answer = submit_url(embedded_client, url)
    assert (answer.status_code, answer.json()["type"]) == (422, "refused-address")


def test_a_server_that_is_not_there_is_told(client: TestClient) -> None:
    answer = submit_url(client, "http://127.0.0.1:9/model")
    assert (answer.status_code, answer.json()["type"]) == (422, "checkpoint-unreachable")


def test_a_document_that_names_no_checkpoint_is_told_how(embedded_client: TestClient) -> None:
    answer = embedded_client.post("/jobs", json={"checkpoint": {}})
    assert answer.json()["type"] == "invalid-job"
    assert "give the `sha256` of a file uploaded before, or the `url`" in answer.json()["detail"]
