"""Resolves host names in separate threads, with a time limit; each tenant has a share of the threads.

A name's servers are controlled by the user who chose it. The system's resolver may wait for them very long and cannot
be interrupted, but it blocks only one of these threads.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from ipaddress import ip_address

from app.kit.fair_shares import FairThreads, QueueFull
from app.outbound.addresses import Address
from app.outbound.errors import OutboundError

_THREADS = 16
_LONGEST_QUEUE = 64
# Waiting for a thread and look-up together.
SECONDS_TO_RESOLVE = 5.0

LookUp = Callable[[str, int], Sequence[Address]]


def look_up(host: str, port: int) -> Sequence[Address]:
    """Return all addresses of a name, by the system's resolver. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))


class Names:
    """Resolves names for tenants."""

    def __init__(self, look_up: LookUp = look_up) -> None:
        self._look_up = look_up
        self._threads = FairThreads("resolver", _THREADS, longest_queue=_LONGEST_QUEUE)

    def resolve(self, tenant: str, host: str, port: int) -> Sequence[Address]:
        """Return all addresses of a name. Raises `OutboundError`, within `SECONDS_TO_RESOLVE`."""
        future = self._begin(tenant, host, port)
        try:
            return future.result(SECONDS_TO_RESOLVE)
        except FutureTimeoutError:
            future.cancel()
            raise _too_slow(host) from None
        except OSError as error:
            raise _not_found(host) from error

    async def resolve_soon(self, tenant: str, host: str, port: int) -> Sequence[Address]:
        """Do the same as `resolve`, in an event loop."""
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
    return OutboundError(f"The host {host} was not resolved within {SECONDS_TO_RESOLVE:g} seconds; check its name.")
