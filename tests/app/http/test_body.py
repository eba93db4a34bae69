import asyncio
import os
import threading
import time
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from app.http.body import _Pending, parse_length, read_body
from app.kit.fair_shares import FairShares
from app.kit.problems import Problem
from app.kit.tenants import tenant_of_request

MEBIBYTE = bytes(2**20)


def request_of(chunks: list[bytes]) -> Request:
    """A request whose body comes in these chunks."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    coming = iter(messages)

    async def receive() -> Any:
        return next(coming)

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def test_the_body_is_taken_a_mebibyte_at_a_time() -> None:
    taken: list[int] = []
    asyncio.run(read_body(request_of([MEBIBYTE[: 2**19]] * 5), lambda data: taken.append(len(data))))
    assert taken == [2**20, 2**20, 2**19]


def test_no_more_uploads_are_taken_at_once_than_there_are_threads_for_them() -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def take(data: bytes) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1

    async def all_at_once() -> None:
        await asyncio.gather(*(read_body(request_of([MEBIBYTE]), take) for _ in range(20)))

    asyncio.run(all_at_once())
    assert most == max(1, (os.cpu_count() or 1) // 2)


def test_an_upload_pauses_while_the_event_loop_is_busy() -> None:
    async def seconds_of_an_upload(busy: float) -> float:
        stop = asyncio.Event()

        async def others() -> None:
            while not stop.is_set():
                time.sleep(busy)  # noqa: ASYNC251 # blocks the event loop on purpose
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        start = time.monotonic()
        await read_body(request_of([MEBIBYTE] * 4), lambda data: None)
        stop.set()
        await task
        return time.monotonic() - start

    # Four pauses of sixteen rounds.
    assert asyncio.run(seconds_of_an_upload(0.02)) > 4 * 16 * 0.02
    assert asyncio.run(seconds_of_an_upload(0.0)) < 0.3


def test_uploads_that_pause_hold_no_more_than_the_process_has_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.body._MOST_PENDING_BYTES", 2**20)

    async def pausing() -> int:
        loop, paused, most_taken = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        taken = 0

        def take(data: bytes) -> None:
            nonlocal taken
            taken += len(data)
            if taken >= 20 * 10 * 100_000 - 2**20 - 20 * 100_000:
                loop.call_soon_threadsafe(most_taken.set)

        async def upload() -> None:
            chunks = iter([bytes(100_000)] * 10)

            async def receive() -> Any:
                body = next(chunks, None)
                if body is None:
                    await paused.wait()
                    return {"type": "http.disconnect"}
                return {"type": "http.request", "body": body, "more_body": True}

            with pytest.raises(ClientDisconnect):
                await read_body(Request({"type": "http", "method": "POST", "headers": []}, receive), take)

        uploads = [asyncio.create_task(upload()) for _ in range(20)]
        await most_taken.wait()
        held = _Pending.total
        paused.set()
        await asyncio.gather(*uploads)
        assert taken == 20 * 10 * 100_000
        return held

    assert asyncio.run(pausing()) <= 2**20 + 20 * 100_000
    assert _Pending.total == 0


def test_one_tenant_has_half_of_the_places_for_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    places = FairShares(8)
    monkeypatch.setattr("app.http.body._places", lambda: places)
    for _ in range(4):
        assert places.take(tenant_of_request.get())
    with pytest.raises(Problem) as refused:
        asyncio.run(read_body(request_of([MEBIBYTE]), lambda data: None))
    assert (refused.value.details.status, refused.value.details.type) == (429, "too-many-uploads")
    assert refused.value.headers == {"Retry-After": "10", "Connection": "close"}
    places.release(tenant_of_request.get())
    asyncio.run(read_body(request_of([MEBIBYTE]), lambda data: None))
    assert places.may_take("another")


@pytest.mark.parametrize(("text", "length"), [("12", 12), ("", 0), ("-1", 0), ("²", 0), ("9" * 5000, 0)])
def test_what_is_no_length_counts_as_none(text: str, length: int) -> None:
    assert parse_length(text) == length
