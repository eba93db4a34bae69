"""The body of a request, taken as it arrives."""

from collections.abc import Callable
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.problems import Problem

_CHUNK_BYTES = 2**20


async def read_body(request: Request, take: Callable[[bytes], None]) -> None:
    """Hand the body on to `take`, in a thread and about a mebibyte at a time.

    Raises Starlette's `ClientDisconnect`, after the bytes before it have been taken.
    """
    pending: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            pending.append(chunk)
            size += len(chunk)
            if size >= _CHUNK_BYTES:
                data, pending, size = b"".join(pending), [], 0
                await run_in_threadpool(take, data)
    finally:
        if pending:
            await run_in_threadpool(take, b"".join(pending))


async def read_small_body(request: Request, most: int) -> bytes:
    """All of the body. Raises `Problem` (`body-too-large`), and `ClientDisconnect`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", f"Send no more than {most:,} bytes of JSON."
            )
    return bytes(body)


def declared_length(request: Request) -> int:
    """What the client says that it will send; 0 if it does not say."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() and declared.isascii() else 0
