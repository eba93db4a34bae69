"""The body of a request, taken as it arrives.

Uploads give way: what takes long anyway waits for what is over at once. They share a few threads, and pause as long as
the event loop is behind.
"""

import asyncio
import os
import re
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import TypeVar, TypeVarTuple, Unpack

from starlette.requests import ClientDisconnect, Request

from app.access.caller import tenant_of_request
from app.fair_shares import FairShares, FairThreads
from app.problems import Problem

_CHUNK_BYTES = 2**20
# Of all uploads of a process.
_MOST_PENDING_BYTES = 32 * 2**20
# Of a process; one tenant may have half of them.
_MOST_UPLOADS = 256
_SECONDS_TO_COME_BACK = "10"
# Longer ones name no size, and Python refuses to read very long ones.
_LENGTH = re.compile(r"[0-9]{1,18}")
# A round of the event loop that takes longer keeps others waiting.
_LONG_ROUND = 0.005
_ROUNDS_TO_PAUSE = 16
_LONGEST_PAUSE = 0.5
# No tenant has more requests at once than there are connections.
_LONGEST_QUEUE = 10_000

Found = TypeVar("Found")
Arguments = TypeVarTuple("Arguments")


async def read_body(request: Request, take: Callable[[bytes], None]) -> None:
    """Hand the body on to `take`, in a thread and about a mebibyte at a time.

    As long as all uploads together hold much, it is handed on in smaller pieces. Raises Starlette's `ClientDisconnect`,
    after the bytes before it have been taken, and `Problem` (`too-many-uploads`).
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
    """Bytes of one upload that have come and are still to be taken; `total` are those of all uploads."""

    total = 0

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Hold more bytes."""
        self._chunks.append(chunk)
        self.size += len(chunk)
        _Pending.total += len(chunk)

    async def hand_on(self, take: Callable[[bytes], None]) -> None:
        """Have all of them taken. Until that is done they are in memory."""
        data, size, self._chunks, self.size = b"".join(self._chunks), self.size, [], 0
        try:
            await in_turn(take, data)
        finally:
            _Pending.total -= size


@cache
def _places() -> FairShares:
    """Places for uploads that are under way. Each holds some hundred kilobytes beside its pending bytes."""
    return FairShares(_MOST_UPLOADS)


def _too_many_uploads() -> Problem:
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too-many-uploads",
        "As many of your uploads as are taken at once are under way; send this one when another has ended.",
        headers={"Retry-After": _SECONDS_TO_COME_BACK, "Connection": "close"},
    )


async def in_turn(work: Callable[[Unpack[Arguments]], Found], *arguments: *Arguments) -> Found:
    """Do a part of an upload in one of the threads that all uploads share, in which tenants take turns."""
    return await _threads().run(tenant_of_request.get(), work, *arguments)


@cache
def _threads() -> FairThreads:
    """The threads of all uploads: with more of them than cores, the event loop would hardly get its turn.

    A part takes milliseconds, so that a tenant whose turn it is need not leave a thread free.
    """
    threads = max(1, (os.cpu_count() or 1) // 2)
    return FairThreads("upload", threads, reserving=False, longest_queue=_LONGEST_QUEUE)


async def inspect(work: Callable[[Unpack[Arguments]], Found], *arguments: *Arguments) -> Found:
    """Do what depends on what an uploaded file holds, and may take seconds, apart from the parts of uploads."""
    return await _inspection_threads().run(tenant_of_request.get(), work, *arguments)


@cache
def _inspection_threads() -> FairThreads:
    """Two at least, so that one tenant's largest files leave a thread to the others."""
    return FairThreads("inspection", max(2, (os.cpu_count() or 1) // 2))


async def _give_way() -> None:
    """Pause for some rounds of the event loop if they are long."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    await asyncio.sleep(0)
    behind = loop.time() - start
    if behind > _LONG_ROUND:
        await asyncio.sleep(min(_ROUNDS_TO_PAUSE * behind, _LONGEST_PAUSE))


async def read_small_body(request: Request, most: int) -> bytes:
    """All of the body. Raises `Problem` (`body-too-large`, `request-cut-off`)."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise Problem(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", f"Send no more than {most:,} bytes of JSON."
                )
    except ClientDisconnect:
        raise Problem(HTTPStatus.BAD_REQUEST, "request-cut-off", "The request was cut off; send it again.") from None
    return bytes(body)


def is_json(request: Request) -> bool:
    """Return whether the header says that the body is a JSON document."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def declared_length(request: Request) -> int:
    """Read the header Content-Length; 0 without one."""
    return parse_length(request.headers.get("content-length", ""))


def parse_length(text: str) -> int:
    """Parse a Content-Length; 0 for text that is not a number."""
    return int(text) if _LENGTH.fullmatch(text) else 0
