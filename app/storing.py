"""Artifacts that requests write: opened and committed in threads, as a store may be at the other end of a network."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import TypeVar, TypeVarTuple, Unpack

from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool

from app.storage import ArtifactStore, ArtifactWriter, StoredArtifact
from app.storage.writer import nothing

<<<<<<< HEAD
_AT_ONCE = 1
=======
_AT_ONCE = 4
>>>>>>> 7d4d120c89ab710787e86a2f2cd3778c6467b562

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


async def commit(writer: ArtifactWriter, go_on: Callable[[], None] = nothing) -> StoredArtifact:
    """Put the artifact in its place, calling `go_on` now and then. Raises `DiskFull` and `StoreUnavailable`."""
    return await waiting(writer.commit, go_on)


async def waiting(work: Callable[[Unpack[Arguments]], Found], *arguments: *Arguments) -> Found:
    """Do what waits for the store, in one of a few threads; what is computed for uploads has its own (`app.body`)."""
    return await to_thread.run_sync(work, *arguments, limiter=_threads())


@cache
def _threads() -> CapacityLimiter:
    """Each may hold some parts of an upload in memory."""
    return CapacityLimiter(_AT_ONCE)
