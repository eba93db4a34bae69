"""Connection limits of a server, in total and per address, and which connections are dropped for new ones.

A connection is *silent* while it has no active request: the head has not arrived yet, or the last response was sent.
Dropping a silent connection costs its client nothing, so a thousand of them keep nobody out.
"""

import resource
import socket
from collections import Counter, OrderedDict
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

import structlog

from app.settings import Settings

_log = structlog.get_logger()
# Connections beyond the limit that serve only probes; other requests get 503.
RESERVED = 32
# The key of the registry in the state of the server's lifespan.
CONNECTIONS = "connections"
# Name in the lifespan's state of the function that the server calls when it begins to stop.
AT_STOP = "nern.at_stop"
# A connection and the file that is read or written for it.
_DESCRIPTORS_OF_CONNECTION = 2
# For databases, brokers, logs, threads.
_OTHER_DESCRIPTORS = 256
# A client with one IPv6 address has its whole network.
_IPV6_PREFIX = 64


class Droppable(Protocol):
    """A connection that can be closed."""

    def drop(self) -> None:
        """Close it at once."""


class Connections:
    """All connections of one server. Not thread-safe: only the event loop uses it."""

    def __init__(self, most: int, most_of_address: int = 0, trusted: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._trusted = trusted
        self._addresses: dict[Droppable, str] = {}
        self._counts: Counter[str] = Counter()
        self._busy = 0
        # By address, longest silent first.
        self._silent: dict[str, OrderedDict[Droppable, None]] = {}

    @classmethod
    def of(cls, settings: Settings) -> "Connections":
        """Return the limits of the settings, lowered to what the process's file descriptors allow."""
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        enough_for = max(1, (descriptors - _OTHER_DESCRIPTORS) // _DESCRIPTORS_OF_CONNECTION - RESERVED)
        if enough_for < settings.max_connections:
            _log.warning("connections_limited", descriptors=descriptors, connections=enough_for)
        most = min(settings.max_connections, enough_for)
        return cls(most, settings.max_connections_per_address, settings.trusted_proxies)

    @property
    def crowded(self) -> bool:
        """True if more requests are active than the limit; the reserve is for probes."""
        return self._busy > self._most

    def admit(self, connection: Droppable, host: str) -> bool:
        """Admit a new connection, dropping a silent one if necessary. False: close the new one."""
        address = _network_of(host)
        if self._is_limited(host) and self._counts[address] >= self._most_of_address and not self._make_way(address):
            return False
        if len(self._addresses) >= self._most + RESERVED and not self._make_way(self._most_silent()):
            return False
        self._addresses[connection] = address
        self._counts[address] += 1
        self._busy += 1
        self.note_silence(connection)
        return True

    def note_silence(self, connection: Droppable) -> None:
        """Record that the connection has no active request."""
        if connection in self._addresses:
            silent = self._silent.setdefault(self._addresses[connection], OrderedDict())
            if connection not in silent:
                silent[connection] = None
                self._busy -= 1

    def note_request(self, connection: Droppable) -> None:
        """Record that the head of a request has arrived."""
        address = self._addresses.get(connection, "")
        silent = self._silent.get(address)
        if silent is not None and connection in silent:
            del silent[connection]
            self._busy += 1
            if not silent:
                del self._silent[address]

    def forget(self, connection: Droppable) -> None:
        """Remove a connection that is closed."""
        self.note_request(connection)
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._busy -= 1
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def _is_limited(self, host: str) -> bool:
        if not self._most_of_address:
            return False
        try:
            found = ip_address(host)
        except ValueError:
            return False
        return not any(found in network for network in self._trusted if network.version == found.version)

    def _most_silent(self) -> str:
        """Return the address with the most silent connections."""
        return max(self._silent, key=lambda address: len(self._silent[address]), default="")

    def _make_way(self, address: str) -> bool:
        """Drop the longest silent connection of the address; return whether there was one."""
        silent = self._silent.get(address)
        if not silent:
            return False
        connection = next(iter(silent))
        self.forget(connection)
        connection.drop()
        return True


def raise_descriptor_limit(connections: int) -> None:
    """Raise the soft limit of file descriptors to what `connections` need, or to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_OF_CONNECTION * (connections + RESERVED) + _OTHER_DESCRIPTORS
    if soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def end_when_not_read(connection: socket.socket, seconds: float) -> None:
    """Make the kernel end a connection whose peer acknowledges nothing for `seconds` while data wait to be sent.

    Acknowledgements come from the peer's kernel, so a client that reads slowly but steadily is not ended.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT") and connection.family in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * seconds))


def _network_of(host: str) -> str:
    """Return the network of a host that counts as one address."""
    try:
        found = ip_address(host)
    except ValueError:
        return host
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(ip_network((found, _IPV6_PREFIX), strict=False))
    return host
