"""Host names become addresses in threads of their own, within a deadline, and within each tenant's share of them.

The servers of a name belong to whoever has chosen it. The system's resolver waits for them for as long as it likes,
and cannot be stopped: what it holds up is one of these threads.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from ipaddress import ip_address

from app.fair_shares import FairThreads, QueueFull
from app.outbound.addresses import Address
from app.outbound.errors import OutboundError

_THREADS = 16
_LONGEST_QUEUE = 64
# Turn and look-up together.
SECONDS_TO_RESOLVE = 5.0

LookUp = Callable[[str, int], Sequence[Address]]


def look_up(host: str, port: int) -> Sequence[Address]:
    """All addresses of a name, as the system knows them. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))


class Names:
    """Resolves names for tenants."""

    def __init__(self, look_up: LookUp = look_up) -> None:
        self._look_up = look_up
        self._threads = FairThreads("resolver", _THREADS, longest_queue=_LONGEST_QUEUE)

    def resolve(self, tenant: str, host: str, port: int) -> Sequence[Address]:
        """All addresses of a name. Raises `OutboundError`, after `SECONDS_TO_RESOLVE` at the latest."""
        future = self._begin(tenant, host, port)
        try:
            return future.result(SECONDS_TO_RESOLVE)
        except FutureTimeoutError:
            future.cancel()
            raise _too_slow(host) from None
        except OSError as error:
            raise _not_found(host) from error

    async def resolve_soon(self, tenant: str, host: str, port: int) -> Sequence[Address]:
        """Do the same as `resolve` in an event loop."""
        future = asyncio.wrap_future(self._begin(tenant, host, port))
        done, _ = await asyncio.wait({future}, timeout=SECONDS_TO_RESOLVE)
        if not done:
            future.cancel()
            raise _too_slow(host)
        try:
            return future.result()
        except OSError as error:
            raise _not_found(host) from error

    def _begin(self, tenant: str, host: str, port: int) -> Future[Sequence[Address]]:
        try:
            return self._threads.submit(tenant, self._look_up, host, port)
        except QueueFull:
            raise OutboundError("Too many of your host names are being looked up; try again soon.") from None


def _not_found(host: str) -> OutboundError:
    return OutboundError(f"The host {host} cannot be found; check its name.")


def _too_slow(host: str) -> OutboundError:
    return OutboundError(f"The host {host} was not found within {SECONDS_TO_RESOLVE:g} seconds; check its name.")
