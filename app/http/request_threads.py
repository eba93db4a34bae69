"""Threads for synchronous work of requests; each tenant has a share of them.

A tenant's work may wait for its quota lock, or while a large file is hashed. Other tenants still find a free thread and
a database connection. Starlette's own threads are for work shared by all tenants, and for short work.
"""

from collections.abc import Awaitable, Callable
from functools import cache, wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack

from fastapi.routing import APIRoute

from app.kit.fair_shares import FairThreads
from app.kit.tenants import tenant_of_request

# Each may hold one of the 40 database connections.
_THREADS = 24
# More than the HTTP connections that the server accepts by default, so no tenant reaches it.
_LONGEST_QUEUE = 10_000

Parameters = ParamSpec("Parameters")
Found = TypeVar("Found")
Arguments = TypeVarTuple("Arguments")


async def in_share(work: Callable[[Unpack[Arguments]], Found], *arguments: *Arguments) -> Found:
    """Do work of a request in a thread of the tenant's share."""
    return await _threads().run(tenant_of_request.get(), work, *arguments)


class TenantRoute(APIRoute):
    """Route for tenants; a synchronous function runs in a thread of the tenant's share."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 # those of `APIRoute`
        super().__init__(path, endpoint if iscoroutinefunction(endpoint) else _shared(endpoint), **options)


def _shared(endpoint: Callable[Parameters, Found]) -> Callable[Parameters, Awaitable[Found]]:
    @wraps(endpoint)
    async def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Found:
        return await in_share(lambda: endpoint(*args, **kwargs))

    return run


@cache
def _threads() -> FairThreads:
    return FairThreads("request", _THREADS, longest_queue=_LONGEST_QUEUE)
