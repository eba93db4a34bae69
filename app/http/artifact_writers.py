"""Artifacts written by requests: opened and committed in threads, because the store may be remote."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import TypeVar, TypeVarTuple, Unpack

from starlette.concurrency import run_in_threadpool

from app.http.body import in_turn
from app.http.request_threads import in_share
from app.kit.fair_shares import FairThreads
from app.kit.tenants import tenant_of_request
from app.storage import ArtifactStore, ArtifactWriter, StoredArtifact

_AT_ONCE = 4

Found = TypeVar("Found")
Arguments = TypeVarTuple("Arguments")


@asynccontextmanager
async def writing(store: ArtifactStore, expected: int, reserve: int) -> AsyncIterator[ArtifactWriter]:
    """Open a writer for an upload. Raises `DiskFull` and `StoreUnavailable` before the bytes arrive."""
    opened = store.writer(expected, reserve)
    writer = await run_in_threadpool(opened.__enter__)
    try:
        yield writer
    finally:
        # This only removes a file. It must happen even if the request was canceled, so it is not awaited.
        opened.__exit__(None, None, None)


async def commit(store: ArtifactStore, writer: ArtifactWriter) -> StoredArtifact:
    """Commit the artifact. Raises `DiskFull` and `StoreUnavailable`.

    On a local disk this uses the upload threads: more parallel commits would not be faster, and would delay others.
    """
    if not store.is_remote:
        return await in_turn(writer.commit)
    return await waiting(store, writer.commit)


async def waiting(store: ArtifactStore, work: Callable[[Unpack[Arguments]], Found], *arguments: *Arguments) -> Found:
    """Do work that waits for the database and the store; a remote store has its own threads."""
    if not store.is_remote:
        return await in_share(work, *arguments)
    return await _threads().run(tenant_of_request.get(), work, *arguments)


@cache
def _threads() -> FairThreads:
    """Threads for a remote store: few, because each may hold several parts of an upload in memory."""
    return FairThreads("store", _AT_ONCE)
