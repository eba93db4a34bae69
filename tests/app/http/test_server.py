import asyncio
import json
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
import uvicorn
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope
from uvicorn.server import ServerState

from app.access.caller import Scope
from app.access.service import ApiKeyService
from app.db.engine import create_sessions
from app.db.schema import migrate
from app.http.server import PromptProtocol, refuse_open_service
from app.settings import Authentication, Settings
from nern_core.contract.errors import NernError
from tests.processes import API, Client, environment, free_port, process, wait_for


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_service_without_keys_may_listen_on_loopback(embedded: Settings, host: str) -> None:
    refuse_open_service(embedded, host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "nern.example.org", ""])
def test_a_service_without_keys_may_not_listen_elsewhere(embedded: Settings, host: str) -> None:
    with pytest.raises(NernError, match="set NERN_AUTHENTICATION=keys"):
        refuse_open_service(embedded, host)
    refuse_open_service(embedded.model_copy(update={"authentication": Authentication.KEYS}), host)


@pytest.fixture
def port(embedded: Settings, tmp_path: Path) -> Iterator[int]:
    """The port of an API with short timeouts."""
    settings = Settings(data_dir=embedded.data_dir, body_idle_timeout=timedelta(seconds=1))
    migrate(settings)
    port = free_port()
    with process([*API, str(port)], environment(settings), tmp_path / "api.log"), Client(port) as client:
        wait_for(client.is_ready, what="the API did not start")
        yield port


def exchange(port: int, request: bytes, seconds: float = 5) -> bytes:
    """Send bytes and return the answer until the server closes; fail if it does not close in time."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_headers_of_proxies_hold_from_the_trusted_networks_alone(embedded: Settings, tmp_path: Path) -> None:
    settings = Settings(data_dir=embedded.data_dir, authentication=Authentication.KEYS)
    sessions = create_sessions(settings)
    key = ApiKeyService(sessions).create("acme", tuple(Scope)).reveal()
    sessions.kw["bind"].dispose()
    port, trusted = free_port(), {"NERN_TRUSTED_PROXIES": "127.0.0.2/32, 192.0.2.0/24"}
    cookies = {}
    with process([*API, str(port)], environment(settings) | trusted, tmp_path / "log"), Client(port) as client:
        wait_for(client.is_ready, what="the API did not start")
        for address in ("127.0.0.1", "127.0.0.2"):
            with httpx2.Client(transport=httpx2.HTTPTransport(local_address=address)) as proxy:
                answer = proxy.post(
                    f"http://127.0.0.1:{port}/sign-in", data={"key": key}, headers={"X-Forwarded-Proto": "https"}
                )
            cookies[address] = "Secure" in answer.headers["Set-Cookie"]
    assert cookies == {"127.0.0.1": False, "127.0.0.2": True}


HEAD = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"


def test_the_server_keeps_its_promises_on_the_wire(port: int) -> None:
    plain = exchange(port, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert plain.startswith(b"HTTP/1.1 200")
    assert b"\r\nserver:" not in plain.lower()

    start = time.monotonic()
    paused = exchange(port, HEAD + b"Content-Length: 1000\r\n\r\n--b\r\n")
    assert paused.startswith(b"HTTP/1.1 408")
    assert 0.9 < time.monotonic() - start < 4

    foreign = exchange(port, b"GET /jobs HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert foreign.startswith(b"HTTP/1.1 421")

    forwarded = b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n"
    assert exchange(port, forwarded).startswith(b"HTTP/1.1 403")

    for smuggled in (
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"Content-Length: -1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        assert exchange(port, HEAD + smuggled).startswith(b"HTTP/1.1 400"), smuggled

    for large in (b"GET /" + b"x" * 100_000, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000):
        assert exchange(port, large).startswith(b"HTTP/1.1 431")


def test_requests_that_cost_more_than_their_bytes_are_refused_with_a_problem_and_closed(port: int) -> None:
    many = exchange(port, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 500 + b"\r\n")
    assert many.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert json.loads(many.partition(b"\r\n\r\n")[2])["type"] == "headers-too-large"
    tiny = exchange(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 1000)
    assert tiny.startswith(b"HTTP/1.1 413 Request Entity Too Large\r\n")
    assert json.loads(tiny.partition(b"\r\n\r\n")[2])["type"] == "chunks-too-small"


def test_a_body_that_becomes_malformed_while_its_answer_is_sent_ends_both() -> None:
    ended = []

    async def application(scope: AsgiScope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        while (message := await receive())["type"] == "http.request":
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        ended.append(message["type"])

    async def exchange() -> bytes:
        config = uvicorn.Config(application, http=PromptProtocol, lifespan="off", log_config=None)
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(lambda: PromptProtocol(config, state, {}), "127.0.0.1")
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        begun = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(1)
        writer.write(b"zz\r\n")
        rest = await reader.read()
        writer.close()
        await asyncio.gather(*state.tasks)
        server.close()
        return begun + rest

    answer = asyncio.run(exchange())
    assert (answer.count(b"HTTP/1.1"), answer[-1:], ended) == (1, b"x", ["http.disconnect"])


def drip(connection: socket.socket, seconds: float) -> None:
    """Send a byte at intervals."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        connection.sendall(b"x")
        time.sleep(0.5)


@pytest.mark.slow
def test_a_request_whose_head_does_not_come_is_cut_off(port: int) -> None:
    start = time.monotonic()
    assert exchange(port, b"", 30) == b""
    assert 10 < time.monotonic() - start < 25
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        start = time.monotonic()
        with pytest.raises(OSError, match="Broken pipe|reset"):
            drip(connection, seconds=25)
    assert 10 < time.monotonic() - start < 25
