"""A submission in progress, whose request is still arriving."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from app.jobs.idempotency import BoundKey, HeldKey


@dataclass(frozen=True, slots=True)
class Draft:
    """A submission in progress: the id of the future job, and the key it holds or the job that its key is bound to.

    `traceparent` is the span of the request, if requests are traced.
    """

    tenant: str
    job_id: str
    held: HeldKey | None
    bound: BoundKey | None = None
    traceparent: str | None = None

    @asynccontextmanager
    async def holding_its_key(self) -> AsyncIterator[None]:
        """Hold the key while the request arrives; release it if the request is refused."""
        if self.held is None:
            yield
            return
        extending = asyncio.create_task(self.held.extend_regularly())
        try:
            yield
        except BaseException:
            await run_in_threadpool(self.held.release)
            raise
        finally:
            extending.cancel()
            await asyncio.wait((extending,))
