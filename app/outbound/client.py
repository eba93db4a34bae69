"""The only client for requests to addresses that users name: webhooks, checkpoints at a URL.

A host name is resolved once, all of its addresses are checked, and the connection goes to one of them, so a name whose
addresses change (DNS rebinding) cannot lead elsewhere. Certificates and the header `Host` use the name. Redirects,
proxies of the environment and compressed bodies are not supported.
"""

import http.client
import socket
import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlsplit

from app.kit.tenants import DEFAULT_TENANT
from app.outbound.addresses import Address, Network, is_allowed, is_public
from app.outbound.answer import Answer, Deadline, Pace, Response
from app.outbound.errors import AddressRefused, OutboundError
from app.outbound.interruption import Interruption
from app.outbound.names import LookUp, Names, look_up

_PORTS = frozenset({443, 8443})
_DEFAULT_PORTS = {"https": 443, "http": 80}
# For each address; a host that drops packets would otherwise hold the thread until the deadline.
_SECONDS_TO_CONNECT = 10.0
# Characters that a path or query may have, besides letters and digits.
_OF_ADDRESSES = "%/?:@!$&'()*+,;=-._~[]|"


@dataclass(frozen=True, slots=True)
class Target:
    """Target of a request: the parts of its URL, and the checked addresses."""

    secure: bool
    host: str
    port: int
    path: str
    addresses: Sequence[Address]


@dataclass(frozen=True, slots=True)
class Origin:
    """A server that the operator has configured."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """Return the server of a URL. Raises `AddressRefused` for an invalid URL."""
        return cls(*_parts(url)[:3])


class OutboundClient:
    """Sends requests to public addresses over TLS, to `networks` with and without, and to `origins` anywhere."""

    def __init__(
        self,
        networks: Sequence[Network] = (),
        *,
        origins: Collection[Origin] = (),
        resolver: LookUp = look_up,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._networks = networks
        self._origins = origins
        self._names = Names(resolver)
        self._context = context or ssl.create_default_context()

    @contextmanager
    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        seconds: float = 5.0,
        max_bytes: int = 64 * 2**10,
        tenant: str = DEFAULT_TENANT,
        pace: Pace | None = None,
        interruption: Interruption | None = None,
    ) -> Iterator[Answer]:
        """Send a request for a tenant; it may take `seconds` from the connection to the end of the answer.

        `interruption` ends it before. Raises `OutboundError`. An answer with an error status is not an error here.
        """
        target, interruption = self.check(url, tenant), interruption or Interruption()
        with ExitStack() as stack:
            connection = stack.enter_context(self._connect(target, seconds, interruption))
            deadline = stack.enter_context(Deadline(connection, seconds))
            stack.enter_context(interruption.ending(deadline.end))
            try:
                if isinstance(connection, ssl.SSLSocket):
                    connection.do_handshake()
                exchange = http.client.HTTPConnection(target.host, target.port)
                # `Host` omits the default port of the scheme.
                exchange.default_port = _DEFAULT_PORTS["https" if target.secure else "http"]
                exchange.sock = connection
                exchange.response_class = Response
                sent = {"Accept-Encoding": "identity", "Connection": "close"} | dict(headers or {})
                exchange.request(method, target.path, body, sent)
                response = stack.enter_context(exchange.getresponse())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise deadline.error(error) from error
            yield Answer(response, deadline, max_bytes, pace)

    def check(self, url: str, tenant: str = DEFAULT_TENANT) -> Target:
        """Resolve a URL and check all addresses of its host. Raises `OutboundError`, within some seconds.

        This blocks the thread until the name is resolved. In an event loop, await `check_soon`.
        """
        parts = _parts(url)
        return self._checked(*parts, self._names.resolve(tenant, parts[1], parts[2]))

    async def check_soon(self, url: str, tenant: str) -> Target:
        """Do the same as `check`, without blocking a thread of the caller."""
        parts = _parts(url)
        return self._checked(*parts, await self._names.resolve_soon(tenant, parts[1], parts[2]))

    def _checked(self, scheme: str, host: str, port: int, path: str, addresses: Sequence[Address]) -> Target:
        allowed = bool(addresses) and (
            Origin(scheme, host, port) in self._origins
            or all(is_allowed(address, self._networks) for address in addresses)
        )
        if not allowed and not (addresses and all(map(is_public, addresses))):
            raise AddressRefused(f"The host {host} is not on the public internet; use a public one.")
        if not allowed and (scheme != "https" or port not in _PORTS):
            raise AddressRefused("The address must begin with https:// and use port 443 or 8443.")
        return Target(scheme == "https", host, port, path, addresses)

    def _connect(self, target: Target, seconds: float, interruption: Interruption) -> socket.socket:
        """Connect to the first address that answers. Raises `OutboundError`."""
        patience = min(_SECONDS_TO_CONNECT, seconds / len(target.addresses))
        for address in target.addresses:
            interruption.check()
            try:
                plain = socket.create_connection((str(address), target.port), patience)
            except OSError:
                continue
            plain.settimeout(seconds)
            if not target.secure:
                return plain
            try:
                return self._context.wrap_socket(plain, server_hostname=target.host, do_handshake_on_connect=False)
            except OSError:  # the server has already closed the connection
                plain.close()
        raise OutboundError(f"The host {target.host} does not answer; try again.")


def _parts(url: str) -> tuple[str, str, int, str]:
    """Split a URL into scheme, host, port and escaped path with query. Raises `OutboundError`."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except (ValueError, UnicodeError):
        raise AddressRefused("This is not an address; write one like https://host/path.") from None
    if not host or parts.scheme not in _DEFAULT_PORTS or not url.isprintable() or " " in url:
        raise AddressRefused("This is not a web address; write one like https://host/path.")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused(
            "The address contains a user name or password, which would be stored and logged; leave them out."
        )
    # An address may be written with letters of any script; on the wire their UTF-8 is escaped.
    path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_OF_ADDRESSES)
    return parts.scheme, host, port, path
