"""A fetch ends with the request that wants the file."""

import asyncio
import json
import socket
import threading
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from app.accounting.reservations import Reservations
from app.db.engine import create_sessions
from app.db.schema import migrate
from app.http.disconnection import while_connected
from app.jobs.accounts import ACCOUNTS
from app.outbound.client import OutboundClient
from app.settings import Settings
from app.storage.folder import FolderStore
from app.uploads.fetching import FileFetcher
from app.uploads.receiving import CHECKPOINT
from tests.app.conftest import stored_files
from tests.app.uploads.test_fetching import Server, file_server, reaching, server
from tests.processes import API, Client, environment, free_port, process, wait_for

__all__ = ["file_server", "reaching", "server"]
SECONDS = 30


def acquire(semaphore: threading.Semaphore, count: int) -> bool:
    return all(semaphore.acquire(timeout=SECONDS) for _ in range(count))


@pytest.mark.parametrize("settings", ["embedded"], indirect=True)
def test_fetches_that_nobody_waits_for_end_and_queued_ones_do_not_begin(
    reaching: Settings, file_server: Server
) -> None:
    settings = reaching.model_copy(update={"fetch_timeout": reaching.keep_results})
    migrate(settings)
    sessions = create_sessions(settings)
    store = FolderStore(settings.artifacts)
    fetcher = FileFetcher(settings, store, OutboundClient(settings.outbound_networks))
    rooms = Reservations(settings, sessions, store, ACCOUNTS)

    async def abandon() -> None:
        fetches = [
            asyncio.create_task(fetcher.fetch(f"{file_server.url}/drip", None, CHECKPOINT, rooms.room("acme")))
            for _ in range(20)
        ]
        # A tenant alone has half of the threads.
        assert await asyncio.to_thread(acquire, file_server.dripping, 8)
        # The queued ones first: no thread becomes free before they are dropped.
        for fetch in reversed(fetches):
            fetch.cancel()
        await asyncio.wait(fetches)
        assert await asyncio.to_thread(acquire, file_server.hung_up, 8)

    asyncio.run(abandon())
    wait_for(lambda: not stored_files(settings), SECONDS, "a file of an abandoned fetch is kept")
    assert not file_server.dripping.acquire(timeout=0.5)
    sessions.kw["bind"].dispose()


def test_a_client_that_disconnects_ends_its_fetch(embedded: Settings, file_server: Server, tmp_path: Path) -> None:
    migrate(embedded)
    port, more = free_port(), {"NERN_OUTBOUND_NETWORKS": "127.0.0.0/8"}
    body = json.dumps({"checkpoint": {"url": f"{file_server.url}/drip"}}).encode()
    head = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with process([*API, str(port)], environment(embedded) | more, tmp_path / "log"), Client(port) as client:
        wait_for(client.is_ready, what="the API did not start")
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head % len(body) + body)
            assert acquire(file_server.dripping, 1)
        assert acquire(file_server.hung_up, 1)


def request_of(*messages: Message) -> Request:
    """A request whose client sends these messages and then stays."""
    left = list(messages)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return Request({"type": "http", "headers": []}, receive)


async def answer() -> str:
    await asyncio.sleep(0)
    return "answer"


def test_work_is_done_while_its_client_stays() -> None:
    assert asyncio.run(while_connected(request_of(), answer())) == "answer"
    late = {"type": "http.request", "body": b"", "more_body": False}
    assert asyncio.run(while_connected(request_of(late), answer())) == "answer"


def test_work_is_cancelled_when_its_client_leaves() -> None:
    async def leave() -> asyncio.Event:
        ended = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        with pytest.raises(ClientDisconnect):
            await while_connected(request_of({"type": "http.disconnect"}), work())
        return ended

    assert asyncio.run(leave()).is_set()
