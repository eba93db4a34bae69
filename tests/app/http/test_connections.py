"""Limits of connections, and the order in which silent ones are dropped."""

import asyncio
import resource
import socket
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.http import server
from app.http.connections import RESERVED, Connections, end_when_not_read, raise_descriptor_limit
from app.settings import Settings


class Connection:
    """A connection that records whether it was dropped."""

    def __init__(self) -> None:
        self.dropped = False

    def drop(self) -> None:
        self.dropped = True


def admitted(connections: Connections, number: int, host: str = "192.0.2.1", *, busy: bool = False) -> list[Connection]:
    found = [Connection() for _ in range(number)]
    for connection in found:
        assert connections.admit(connection, host)
        if busy:
            connections.note_request(connection)
    return found


def test_silent_connections_keep_nobody_out() -> None:
    connections = Connections(most=10)
    silent = admitted(connections, 10 + RESERVED)
    admitted(connections, 2, "192.0.2.2")
    assert [connection.dropped for connection in silent] == [True] * 2 + [False] * (8 + RESERVED)


def test_the_address_with_the_most_silent_connections_makes_way() -> None:
    connections = Connections(most=10)
    (honest,) = admitted(connections, 1)
    many = admitted(connections, 9 + RESERVED, "192.0.2.2")
    admitted(connections, 1, "192.0.2.3")
    assert (honest.dropped, many[0].dropped) == (False, True)


def test_connections_with_requests_do_not_make_way() -> None:
    connections = Connections(most=1)
    busy = admitted(connections, 1 + RESERVED, busy=True)
    assert not connections.admit(Connection(), "192.0.2.2")
    connections.note_silence(busy[3])
    assert connections.admit(Connection(), "192.0.2.2")
    assert [number for number, connection in enumerate(busy) if connection.dropped] == [3]


def test_beyond_the_limit_only_the_reserve_is_left() -> None:
    connections, crowded = Connections(most=2), []
    for _ in range(3):
        (last,) = admitted(connections, 1, busy=True)
        crowded.append(connections.crowded)
    connections.forget(last)
    assert [*crowded, connections.crowded] == [False, False, True, False]


@pytest.mark.parametrize("hosts", [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::ffff:1")])
def test_an_address_has_no_more_than_its_number(hosts: tuple[str, str]) -> None:
    connections = Connections(most=100, most_of_address=2)
    admitted(connections, 2, hosts[0], busy=True)
    assert not connections.admit(Connection(), hosts[1])
    assert connections.admit(Connection(), "198.51.100.1")
    assert connections.admit(Connection(), "2001:db8:0:1::1")


def test_an_address_replaces_its_own_silent_connections() -> None:
    connections = Connections(most=100, most_of_address=2)
    first, second = admitted(connections, 2)
    admitted(connections, 1)
    assert (first.dropped, second.dropped) == (True, False)


def test_a_trusted_proxy_may_have_any_number() -> None:
    connections = Connections(most=100, most_of_address=2, trusted=[ip_network("192.0.2.0/24")])
    admitted(connections, 50, busy=True)


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A fake limit of descriptors."""
    found: dict[str, Any] = {"limit": (1024, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda limit: found["limit"])
    monkeypatch.setattr(resource, "setrlimit", lambda limit, values: found.update(limit=values))
    return found


def test_the_limit_of_descriptors_is_raised_as_far_as_it_may_be(limits: dict[str, Any]) -> None:
    raise_descriptor_limit(1000)
    assert limits["limit"] == (2 * (1000 + RESERVED) + 256, 4096)
    raise_descriptor_limit(10_000)
    assert limits["limit"] == (4096, 4096)


def test_there_are_no_more_connections_than_descriptors_are_enough_for(limits: dict[str, Any]) -> None:
    connections = Connections.of(Settings(max_connections=1000, max_connections_per_address=0))
    admitted(connections, (1024 - 256) // 2 - RESERVED, busy=True)
    enough = not connections.crowded
    admitted(connections, 1, busy=True)
    assert (enough, connections.crowded) == (True, True)


def test_errors_of_accepting_are_logged_once() -> None:
    loop, handle = asyncio.new_event_loop(), server._LoopErrors()
    context = {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")}
    with capture_logs() as logs:
        for _ in range(1000):
            handle(loop, context)
    loop.close()
    assert [entry["event"] for entry in logs] == ["connections_not_accepted"]


class Sender(asyncio.Protocol):
    """Sends more than the buffers hold."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        end_when_not_read(transport.get_extra_info("socket"), seconds=1)
        transport.write(bytes(30_000_000))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def reading(seconds_between: float | None) -> Exception | str | None:
    """Read from a connection now and then, or never, for three seconds; return how it ended."""
    sender = Sender()
    listener = await asyncio.get_running_loop().create_server(lambda: sender, "127.0.0.1", 0)
    client = socket.create_connection(listener.sockets[0].getsockname())
    client.setblocking(False)
    try:
        async with asyncio.timeout(3):
            while seconds_between is not None:
                await asyncio.sleep(seconds_between)
                with suppress(BlockingIOError):
                    client.recv(500_000)
            return await sender.lost
    except TimeoutError:
        return "goes on"
    finally:
        client.close()
        listener.close()


def test_a_download_that_is_not_read_is_ended_and_a_slow_one_is_not() -> None:
    async def both() -> tuple[Exception | str | None, Exception | str | None]:
        return await asyncio.gather(reading(None), reading(0.2))

    stalled, slow = asyncio.run(both())
    assert isinstance(stalled, TimeoutError)
    assert slow == "goes on"
