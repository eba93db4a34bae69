"""The connections of a server: how many there may be, in all and from one address, and which make way for others.

A connection is *silent* while no request is under way on it: its head has not come yet, or the last answer has gone. To
drop one costs its client nothing, so silent ones make way: a thousand of them keep nobody out.
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
# Connections beyond the limit, on which only probes are served; other requests are refused with 503.
RESERVED = 32
# The key of the registry in the state of the server's lifespan.
CONNECTIONS = "connections"
# A connection and the file that is read or written for it.
_DESCRIPTORS_OF_CONNECTION = 2
# Databases, brokers, logs, threads.
_OTHER_DESCRIPTORS = 256
# Who has one IPv6 address has all of its network.
_IPV6_PREFIX = 64


class Droppable(Protocol):
    """A connection that can be closed."""

    def drop(self) -> None:
        """Close it at once."""


class Connections:
    """All connections of one server. Only its event loop uses this."""

    def __init__(self, most: int, most_of_address: int = 0, trusted: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._trusted = trusted
        self._addresses: dict[Droppable, str] = {}
        self._counts: Counter[str] = Counter()
        self._busy = 0
        # By address, the one that has been silent for longest first.
        self._silent: dict[str, OrderedDict[Droppable, None]] = {}

    @classmethod
    def of(cls, settings: Settings) -> "Connections":
        """The limits of the settings, or what the descriptors of this process are enough for."""
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        enough_for = max(1, (descriptors - _OTHER_DESCRIPTORS) // _DESCRIPTORS_OF_CONNECTION - RESERVED)
        if enough_for < settings.max_connections:
            _log.warning("connections_limited", descriptors=descriptors, connections=enough_for)
        most = min(settings.max_connections, enough_for)
        return cls(most, settings.max_connections_per_address, settings.trusted_proxies)

    @property
    def crowded(self) -> bool:
        """Tell whether more requests are under way than are served; connections in reserve are for probes."""
        return self._busy > self._most

    def admit(self, connection: Droppable, host: str) -> bool:
        """Take a new connection, which is silent, perhaps in place of a silent one. False: it is to be closed."""
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
        """No request is under way any more."""
        if connection in self._addresses:
            silent = self._silent.setdefault(self._addresses[connection], OrderedDict())
            if connection not in silent:
                silent[connection] = None
                self._busy -= 1

    def note_request(self, connection: Droppable) -> None:
        """The head of a request has come."""
        address = self._addresses.get(connection, "")
        silent = self._silent.get(address)
        if silent is not None and connection in silent:
            del silent[connection]
            self._busy += 1
            if not silent:
                del self._silent[address]

    def forget(self, connection: Droppable) -> None:
        """The connection is gone."""
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
        """The address with the most silent connections."""
        return max(self._silent, key=lambda address: len(self._silent[address]), default="")

    def _make_way(self, address: str) -> bool:
        """Drop the connection of the address that has been silent for longest; return whether one was dropped."""
        silent = self._silent.get(address)
        if not silent:
            return False
        connection = next(iter(silent))
        self.forget(connection)
        connection.drop()
        return True


def raise_descriptor_limit(connections: int) -> None:
    """Raise the soft limit of descriptors to what `connections` take, or to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_OF_CONNECTION * (connections + RESERVED) + _OTHER_DESCRIPTORS
    if soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def end_when_not_read(connection: socket.socket, seconds: float) -> None:
    """Have the kernel end a connection whose peer acknowledges nothing for `seconds` while data wait to be sent.

    It looks at what the peer's own kernel acknowledges: who reads slowly but steadily is not ended.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT") and connection.family in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * seconds))


def _network_of(host: str) -> str:
    """Return the network that counts as one address."""
    try:
        found = ip_address(host)
    except ValueError:
        return host
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(ip_network((found, _IPV6_PREFIX), strict=False))
    return host
