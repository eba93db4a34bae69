"""Artifacts that requests write: opened and committed in threads, as a store may be at the other end of a network."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import TypeVar, TypeVarTuple, Unpack

from starlette.concurrency import run_in_threadpool

from app.access.caller import tenant_of_request
from app.body import in_turn
from app.fair_shares import FairThreads
from app.request_threads import in_share
from app.storage import ArtifactStore, ArtifactWriter, StoredArtifact
from app.storage.writer import nothing

_AT_ONCE = 4

Found = TypeVar("Found")
Arguments = TypeVarTuple("Arguments")


@asynccontextmanager
async def writing(store: ArtifactStore, expected: int, reserve: int) -> AsyncIterator[ArtifactWriter]:
    """A writer for an upload. Raises `DiskFull` and `StoreUnavailable` before the bytes come."""
    opened = store.writer(expected, reserve)
    writer = await run_in_threadpool(opened.__enter__)
    try:
        yield writer
    finally:
        # What is left is to remove a file, and has to be done even for a request that is given up.
        opened.__exit__(None, None, None)


async def commit(store: ArtifactStore, writer: ArtifactWriter, go_on: Callable[[], None] = nothing) -> StoredArtifact:
    """Put the artifact in its place, calling `go_on` now and then. Raises `DiskFull` and `StoreUnavailable`.

    This machine's disk does that as a part of uploads: more at once would not make it faster, and keep others from
    their turn.
    """
    if not store.is_remote:
        return await in_turn(writer.commit, go_on)
    return await waiting(store, writer.commit, go_on)


async def waiting(store: ArtifactStore, work: Callable[[Unpack[Arguments]], Found], *arguments: *Arguments) -> Found:
    """Do what waits for the database, and for a store that is remote: that one in threads of its own."""
    if not store.is_remote:
        return await in_share(work, *arguments)
    return await _threads().run(tenant_of_request.get(), work, *arguments)


@cache
def _threads() -> FairThreads:
    """Each may hold some parts of an upload in memory."""
    return FairThreads("store", _AT_ONCE)
