"""A real API whose connections are taken by clients that send nothing, or do not disconnect."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from app.db.schema import migrate
from app.http.connections import RESERVED
from app.settings import Settings
from tests.app.http.test_server import HEAD, exchange
from tests.processes import API, Client, environment, free_port, process, wait_for

MOST = 8


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an API with few connections, which drops clients that do not read."""
    folder = tmp_path_factory.mktemp("crowded")
    settings = Settings(data_dir=folder / "data", max_connections=MOST, write_timeout=timedelta(seconds=1))
    migrate(settings)
    port = free_port()
    with process([*API, str(port)], environment(settings), folder / "api.log"), Client(port) as client:
        wait_for(client.is_ready, what="the API did not start")
        yield port


def get(port: int, path: str) -> bytes:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return exchange(port, request.encode(), seconds=10)


def connected(port: int, stack: ExitStack, number: int, request: bytes = b"") -> list[socket.socket]:
    found = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(number)]
    for connection in found:
        connection.sendall(request)
    return found


def test_idle_connections_keep_neither_probes_nor_others_out(port: int) -> None:
    with ExitStack() as stack:
        idle = connected(port, stack, 2 * (MOST + RESERVED))
        assert get(port, "/livez").startswith(b"HTTP/1.1 200")
        assert idle[0].recv(1) == b""
        connected(port, stack, MOST + RESERVED, b"GET /jobs HTTP/1.1\r\n")
        assert get(port, "/jobs").startswith(b"HTTP/1.1 200")


def test_where_all_connections_are_busy_probes_are_answered_and_others_told_to_come_back(port: int) -> None:
    with ExitStack() as stack:
        connected(port, stack, MOST, HEAD + b"Content-Length: 1000\r\n\r\n--b\r\n")

        def refusal() -> bytes | None:
            # Right after the connect, the server may not have read all heads yet.
            answer = get(port, "/jobs")
            return answer if answer.startswith(b"HTTP/1.1 503") else None

        refused = wait_for(refusal, what="the server is not crowded")
        assert b"too-many-connections" in refused
        assert b"\r\nretry-after: 5\r\n" in refused.lower()
        assert get(port, "/livez").startswith(b"HTTP/1.1 200")
        assert get(port, "/readyz").startswith(b"HTTP/1.1 200")
    wait_for(lambda: get(port, "/jobs").startswith(b"HTTP/1.1 200"), what="the server stays crowded")


def test_a_client_that_does_not_read_its_answers_is_cut_off(port: int) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.settimeout(10)
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        wait_for(lambda: is_refused(client), what="the connection goes on")


def is_refused(client: socket.socket) -> bool:
    """Send another byte; return whether the server has answered an earlier one with a reset."""
    try:
        client.send(b"x")
    except OSError:
        return True
    return False
