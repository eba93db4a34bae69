"""One tenant uses servers that never answer and occupies all the slots it can; another tenant is still served."""

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.accounting.accounts import lock_tenant
from app.db.engine import create_sessions
from app.jobs.deliveries.courier import Courier
from app.jobs.events.listener_limit import ListenerLimit
from app.kit.problems import Problem
from app.outbound.client import OutboundClient
from app.settings import Settings
from tests.app.conftest import serving
from tests.app.jobs.deliveries.receiver import Receiver, receiving
from tests.app.routes.test_authentication import bearer
from tests.conftest import EXAMPLE

LOOPBACK = (ip_network("127.0.0.0/8"),)
BOTH = (Scope.READ, Scope.WRITE)
CONTENT = EXAMPLE.read_bytes()
# More than any pool has threads.
MANY = 18
THREADS_OF_STARLETTE = 40


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """The end of the test, until which silent servers wait."""
    over = threading.Event()
    yield over
    over.set()


@pytest.fixture
def client(with_keys: Settings, keys: ApiKeyService) -> Iterator[TestClient]:
    with serving(with_keys.model_copy(update={"outbound_networks": LOOPBACK, "max_listeners": 8})) as client:
        yield client


@pytest.fixture
def acme(keys: ApiKeyService) -> dict[str, str]:
    """The headers of the attacking tenant."""
    return bearer(keys.create("acme", BOTH).reveal())


@pytest.fixture
def rival(keys: ApiKeyService) -> dict[str, str]:
    """The headers of the other tenant."""
    return bearer(keys.create("rival", BOTH).reveal())


@pytest.fixture
def attackers(over: threading.Event) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(MANY) as threads:
        yield threads
        over.set()


def until(condition: Callable[[], bool]) -> None:
    """Wait until the attack is under way."""
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("the attack has not begun")


class Hanging(ThreadingHTTPServer):
    """Accepts requests, but does not answer those for `/silent`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, over: threading.Event) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.over, self.held = over, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Hanging)
        if self.path == "/silent":
            self.server.held += 1
            self.server.over.wait(30)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    do_GET = do_POST  # noqa: N815 # the handler's own names

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the handler's own name
        pass


@pytest.fixture
def hanging(over: threading.Event) -> Iterator[Hanging]:
    with Hanging(over) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        over.set()
        server.shutdown()


def submit(client: TestClient, headers: dict[str, str], **document: Any) -> httpx2.Response:
    return client.post("/jobs", json=document, headers=headers)


def test_webhooks_whose_names_have_silent_servers_hold_up_nobody_else(
    client: TestClient,
    acme: dict[str, str],
    rival: dict[str, str],
    attackers: ThreadPoolExecutor,
    over: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, waiting = socket.getaddrinfo, []

    def look_up(host: Any, *arguments: Any, **more: Any) -> Any:
        if str(host).endswith(".silent"):
            waiting.append(host)
            over.wait(30)
            raise socket.gaierror("no such host")
        return real(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    webhook = {"url": "https://hooks.silent/"}
    documents = [
        attackers.submit(submit, client, acme, checkpoint={"sha256": "0" * 64}, webhook=webhook)
        for _ in range(MANY - 4)
    ]
    forms = [
        attackers.submit(
            client.post,
            "/jobs",
            files={"checkpoint": CONTENT},
            data={"webhook": json.dumps(webhook)},
            headers=acme,
        )
        for _ in range(4)
    ]
    until(lambda: len(waiting) >= 8)
    assert client.get("/jobs", headers=rival).status_code == 200
    assert client.post("/checkpoints", content=CONTENT, headers=rival).status_code == 201
    assert not any(attack.done() for attack in forms)
    over.set()
    assert {attack.result().status_code for attack in [*documents, *forms]} == {422}


@pytest.mark.parametrize("settings", ["production"], indirect=True)
def test_requests_that_wait_for_the_quota_of_their_tenant_hold_up_nobody_else(
    client: TestClient, with_keys: Settings, acme: dict[str, str], rival: dict[str, str]
) -> None:
    metadata = f"sha256 {base64.b64encode(b'0' * 64).decode()}"
    pieces = {"Tus-Resumable": "1.0.0", "Upload-Length": "8", "Upload-Metadata": metadata}
    sessions = create_sessions(with_keys)
    with ThreadPoolExecutor(THREADS_OF_STARLETTE) as threads, sessions.begin() as session:
        lock_tenant(session, "acme")
        attacks = [threads.submit(client.post, "/uploads", headers=acme | pieces) for _ in range(THREADS_OF_STARLETTE)]
        wait(attacks, 0.3)
        assert client.get("/jobs", headers=rival).status_code == 200
        assert not any(attack.done() for attack in attacks)
    sessions.kw["bind"].dispose()


def test_addresses_of_checkpoints_that_never_answer_hold_up_no_other_tenants_fetch(
    client: TestClient, acme: dict[str, str], rival: dict[str, str], attackers: ThreadPoolExecutor, hanging: Hanging
) -> None:
    for _ in range(MANY):
        attackers.submit(submit, client, acme, checkpoint={"url": f"{hanging.url}/silent"})
    until(lambda: hanging.held >= 8)
    assert submit(client, rival, checkpoint={"url": f"{hanging.url}/model"}).status_code == 202


def test_receivers_that_never_answer_hold_up_no_other_tenants_webhook(
    client: TestClient, with_keys: Settings, acme: dict[str, str], rival: dict[str, str], hanging: Hanging
) -> None:
    assert client.post("/checkpoints", content=CONTENT, headers=acme).status_code == 201
    digest = client.post("/checkpoints", content=CONTENT, headers=rival).json()["sha256"]

    def end_job(headers: dict[str, str], receiver: str) -> None:
        job = submit(client, headers, checkpoint={"sha256": digest}, webhook={"url": receiver}).json()
        client.post(f"/jobs/{job['id']}/cancel", headers=headers)

    sessions = create_sessions(with_keys)
    courier = Courier(with_keys, sessions, OutboundClient(LOOPBACK))
    with receiving() as receiver:
        for _ in range(MANY):
            end_job(acme, f"{hanging.url}/silent")
        end_job(rival, receiver.url)
        begun = courier.begin_due()
        until(lambda: delivered(receiver))
        assert sum(future.done() for future in begun) <= 1
    hanging.over.set()
    wait(begun)
    sessions.kw["bind"].dispose()


def delivered(receiver: Receiver) -> bool:
    return bool(receiver.received)


def test_a_tenant_that_takes_all_listeners_to_listen_leaves_some_to_others() -> None:
    listeners = ListenerLimit(500)
    with ExitStack() as stack:
        for _ in range(250):
            stack.enter_context(listeners.taken("acme"))
        with pytest.raises(Problem):
            stack.enter_context(listeners.taken("acme"))
        stack.enter_context(listeners.taken("rival"))
        assert not listeners.full("third")


def test_where_there_are_no_tenants_all_listeners_may_be_taken() -> None:
    listeners = ListenerLimit(2, several_tenants=False)
    with listeners.taken("default"), listeners.taken("default"):
        assert listeners.full("default")
