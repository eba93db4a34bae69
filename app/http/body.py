"""Request bodies, processed as they arrive.

Uploads give way to short requests: they share a few threads, and pause while the event loop is behind.
"""

import asyncio
import os
import re
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import TypeVar, TypeVarTuple, Unpack

from starlette.requests import ClientDisconnect, Request

from app.kit.fair_shares import FairShares, FairThreads
from app.kit.problems import Problem
from app.kit.tenants import tenant_of_request

_CHUNK_BYTES = 2**20
# Of all uploads in a process.
_MOST_PENDING_BYTES = 32 * 2**20
# Per process; one tenant may have half of them.
_MOST_UPLOADS = 256
_SECONDS_TO_COME_BACK = "10"
# More digits are not a real size, and Python refuses to parse very long numbers.
_LENGTH = re.compile(r"[0-9]{1,18}")
# A longer round of the event loop delays other requests.
_LONG_ROUND = 0.005
_ROUNDS_TO_PAUSE = 16
_LONGEST_PAUSE = 0.5
# More than the number of connections, so no tenant reaches it.
_LONGEST_QUEUE = 10_000

Found = TypeVar("Found")
Arguments = TypeVarTuple("Arguments")


async def read_body(request: Request, take: Callable[[bytes], None]) -> None:
    """Pass the body to `take` in a thread, about a mebibyte at a time.

    The pieces are smaller while all uploads together hold more than 32 MiB. Raises `Problem` (`too-many-uploads`), and
    Starlette's `ClientDisconnect` after the bytes before it have been taken.
    """
    tenant = tenant_of_request.get()
    if not _places().take(tenant):
        raise _too_many_uploads()
    pending = _Pending()
    try:
        async for chunk in request.stream():
            pending.add(chunk)
            if pending.size >= _CHUNK_BYTES or _Pending.total > _MOST_PENDING_BYTES:
                await pending.hand_on(take)
                await _give_way()
    finally:
        _places().release(tenant)
        if pending.size:
            await pending.hand_on(take)


class _Pending:
    """Received bytes of one upload that are not yet taken; `total` counts those of all uploads."""

    total = 0

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Add received bytes."""
        self._chunks.append(chunk)
        self.size += len(chunk)
        _Pending.total += len(chunk)

    async def hand_on(self, take: Callable[[bytes], None]) -> None:
        """Pass all of them to `take`. Until it returns, they count as memory in use."""
        data, size, self._chunks, self.size = b"".join(self._chunks), self.size, [], 0
        try:
            await in_turn(take, data)
        finally:
            _Pending.total -= size


@cache
def _places() -> FairShares:
    """Places for active uploads. Each upload takes some hundred kilobytes besides its pending bytes."""
    return FairShares(_MOST_UPLOADS)


def _too_many_uploads() -> Problem:
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too-many-uploads",
        "You have too many uploads in progress; send this one when another has ended.",
        headers={"Retry-After": _SECONDS_TO_COME_BACK, "Connection": "close"},
    )


async def in_turn(work: Callable[[Unpack[Arguments]], Found], *arguments: *Arguments) -> Found:
    """Do a part of an upload in one of the threads that all uploads share; tenants take turns."""
    return await _threads().run(tenant_of_request.get(), work, *arguments)


@cache
def _threads() -> FairThreads:
    """Threads of all uploads: half as many as cores, so that the event loop gets enough time.

    A part takes milliseconds, so a tenant may use all threads.
    """
    threads = max(1, (os.cpu_count() or 1) // 2)
    return FairThreads("upload", threads, reserving=False, longest_queue=_LONGEST_QUEUE)


async def inspect(work: Callable[[Unpack[Arguments]], Found], *arguments: *Arguments) -> Found:
    """Inspect an uploaded file, which may take seconds, in threads separate from those that receive uploads."""
    return await _inspection_threads().run(tenant_of_request.get(), work, *arguments)


@cache
def _inspection_threads() -> FairThreads:
    """Inspection threads: at least two, so that one tenant's large files leave a thread for the others."""
    return FairThreads("inspection", max(2, (os.cpu_count() or 1) // 2))


async def _give_way() -> None:
    """Pause in proportion to the event loop's delay, if it is behind."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    await asyncio.sleep(0)
    behind = loop.time() - start
    if behind > _LONG_ROUND:
        await asyncio.sleep(min(_ROUNDS_TO_PAUSE * behind, _LONGEST_PAUSE))


async def read_small_body(request: Request, most: int) -> bytes:
    """Read the whole body, up to `most` bytes. Raises `Problem` (`body-too-large`, `request-cut-off`)."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise Problem(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    "body-too-large",
                    f"The JSON is over {most:,} bytes; send less.",
                )
    except ClientDisconnect:
        raise Problem(HTTPStatus.BAD_REQUEST, "request-cut-off", "The request was cut off; send it again.") from None
    return bytes(body)


def is_json(request: Request) -> bool:
    """Return whether the Content-Type is JSON."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def declared_length(request: Request) -> int:
    """Return the Content-Length; 0 if the header is missing."""
    return parse_length(request.headers.get("content-length", ""))


def parse_length(text: str) -> int:
    """Parse a Content-Length; 0 for text that is not a number."""
    return int(text) if _LENGTH.fullmatch(text) else 0
