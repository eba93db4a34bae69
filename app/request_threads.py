"""Threads for the synchronous work of requests: each tenant has a share of them.

Work of a tenant may wait: for the lock that its quota is counted under, or for a large file to be hashed. Whatever the
tenant does, others find a free thread, and a connection to the database. Starlette's own threads are for work that is
done for all tenants together, and for work that is over at once.
"""

from collections.abc import Awaitable, Callable
from functools import cache, wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack

from fastapi.routing import APIRoute

from app.access.caller import tenant_of_request
from app.fair_shares import FairThreads

# Each may hold a connection to the database, of which there are 40.
_THREADS = 24
# No tenant has more requests at once than there are connections.
_LONGEST_QUEUE = 10_000

Parameters = ParamSpec("Parameters")
Found = TypeVar("Found")
Arguments = TypeVarTuple("Arguments")


async def in_share(work: Callable[[Unpack[Arguments]], Found], *arguments: *Arguments) -> Found:
    """Do work of a request in a thread of its tenant's share."""
    return await _threads().run(tenant_of_request.get(), work, *arguments)


class TenantRoute(APIRoute):
    """A route of tenants; where its function is synchronous, it runs in a thread of the tenant's share."""

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
