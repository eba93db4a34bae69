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
        path = self.path.partition("?")[0]
        faults = {
            "/model": lambda: self._send(CONTENT),
            "/gewichte-gr%C3%B6%C3%9Fe": lambda: self._send(CONTENT),
            "/other": lambda: self._send(b"not a checkpoint at all"),
            "/unsized": lambda: self._send(CONTENT, sized=False),
            "/short": lambda: self._send(CONTENT[:-4], length=len(CONTENT)),
            "/chunks": lambda: self._send_chunks(512),
            "/tiny-chunks": lambda: self._send_chunks(1),
            "/moved": lambda: self._redirect("/model?signed=1"),
            "/loop": lambda: self._redirect("/loop"),
            "/inside": lambda: self._redirect("http://10.0.0.1/secrets"),
            "/nowhere": lambda: self._redirect("http://["),
            "/renamed": lambda: self._redirect("/gewichte-größe".encode().decode("latin-1")),
            "/slow": self._send_a_byte,
            "/drip": self._drip,
        }
        faults.get(path, lambda: self.send_error(404))()

    def _send_a_byte(self) -> None:
        self._send(b"x", length=100)
        time.sleep(3)

    def _send(self, content: bytes, *, sized: bool = True, length: int | None = None) -> None:
        self.send_response(200)
        if sized:
            self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _send_chunks(self, size: int) -> None:
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pieces = [CONTENT[start : start + size] for start in range(0, len(CONTENT), size)]
        self.wfile.write(b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n")

    def _drip(self) -> None:
        """Send a byte now and then, until the client hangs up."""
        assert isinstance(self.server, Server)
        self.server.dripping.release()
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.over.wait(0.01):
                self.wfile.write(b"x")
        except OSError:
            self.server.hung_up.release()

    def _redirect(self, location: str) -> None:
        self.send_response(302)
        self.send_header("Location", location)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the handler's own name
        pass


class Server(ThreadingHTTPServer):
    """A server whose clients may hang up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.over = threading.Event()
        # Counts of the answers to `/drip` that have begun, and that the client has ended.
        self.dripping, self.hung_up = threading.Semaphore(0), threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture
def file_server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def server(file_server: Server) -> str:
    return file_server.url


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


def test_a_file_in_tiny_pieces_is_refused(reaching: Settings, server: str) -> None:
    with serving(reaching.model_copy(update={"fetch_timeout": timedelta(seconds=60)})) as patient:
        answer = submit_url(patient, f"{server}/tiny-chunks")
    assert (answer.status_code, answer.json()["type"]) == (422, "checkpoint-unreachable")
    assert "in pieces of less than 512 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/model", "/unsized", "/moved", "/chunks", "/renamed", "/gewichte-größe"])
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
    ("/nowhere", {}, "refused-address", "redirects to something that is not an address"),
    ("/other", {}, "not-a-checkpoint", "neither a safetensors nor a torch checkpoint"),
    ("/model", {"sha256": "0" * 64}, "digest-mismatch", f"The file at this address has the SHA-256 {DIGEST}"),
]


@pytest.mark.parametrize(("path", "more", "slug", "sentence"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_what_cannot_be_used_is_explained_and_not_kept(
    client: TestClient, reaching: Settings, server: str, path: str, more: dict[str, str], slug: str, sentence: str
) -> None:
    answer = submit_url(client, server + path, **more)
    assert (answer.status_code, answer.json()["type"]) == (422, slug)
    assert sentence in answer.json()["detail"]
    assert stored_files(reaching) == []


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("/slow", "has sent nothing for 0.3 seconds"), ("/drip", "sends less than 1,024 bytes per second")],
)
def test_a_file_server_has_the_pauses_and_the_pace_of_an_upload(
    reaching: Settings, server: str, path: str, sentence: str
) -> None:
    patient = {"fetch_timeout": timedelta(seconds=60), "body_idle_timeout": timedelta(seconds=0.3)}
    with serving(reaching.model_copy(update=patient)) as client:
        answer = submit_url(client, server + path)
    assert (answer.status_code, answer.json()["type"]) == (422, "checkpoint-unreachable")
    assert sentence in answer.json()["detail"]


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
