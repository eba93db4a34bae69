"""The one client for requests to addresses that somebody else has named: webhooks, checkpoints at a URL.

A name is resolved once, all its addresses are checked, and the connection goes to one of those, so that
a name whose answers change leads nowhere else. Certificates and the header `Host` are the name's.
Redirects are not followed, proxies of the environment not asked, bodies not decompressed.
"""

import http.client
import socket
import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Timer
from typing import Self
from urllib.parse import urlsplit

from app.access.caller import DEFAULT_TENANT
from app.outbound.addresses import Address, Network, is_allowed, is_public
from app.outbound.errors import AddressRefused, OutboundError
from app.outbound.names import LookUp, Names, look_up

_PORTS = frozenset({443, 8443})
_DEFAULT_PORTS = {"https": 443, "http": 80}
_CHUNK_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: the parts of its URL, and the addresses that were checked."""

    secure: bool
    host: str
    port: int
    path: str
    addresses: Sequence[Address]


@dataclass(frozen=True, slots=True)
class Origin:
    """A server, as the operator has named it."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """The server of an address. Raises `AddressRefused` for what is none."""
        return cls(*_parts(url)[:3])


class Answer:
    """What came back; the body comes with `chunks`."""

    def __init__(self, response: http.client.HTTPResponse, deadline: "_Deadline", max_bytes: int) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._deadline = deadline
        self._max_bytes = max_bytes

    def chunks(self) -> Iterator[bytes]:
        """The body, as it comes. Raises `OutboundError` for one that is too large, too late or breaks off."""
        read = 0
        while chunk := self._next():
            read += len(chunk)
            if read > self._max_bytes:
                raise OutboundError(f"The answer is larger than the {self._max_bytes:,} bytes that are taken.")
            yield chunk
        if self._deadline.over:
            raise self._deadline.error()
        if self._response.length:
            raise OutboundError("The answer has broken off; try again.")

    def _next(self) -> bytes:
        try:
            return self._response.read1(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._deadline.error(error) from error


class _Deadline:
    """Ends a connection when its time is over: a timeout of the socket alone starts anew with every byte."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.over = False
        self._connection = connection
        self._seconds = seconds
        self._timer = Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()

    def error(self, cause: Exception | None = None) -> OutboundError:
        """What has gone wrong with the request: this deadline, or else the cause."""
        if self.over:
            return OutboundError(f"The answer took longer than {self._seconds:.3g} seconds; try again.")
        return OutboundError(f"The request has failed ({cause!r}); try again.")

    def _end(self) -> None:
        self.over = True
        with suppress(OSError):
            # Not the method of a TLS socket, which would read on without TLS.
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)


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
    ) -> Iterator[Answer]:
        """Send a request for a tenant; from the connection to the end of the answer it may take so many seconds.

        Raises `OutboundError`. An answer of any status is an answer.
        """
        target = self.check(url, tenant)
        with ExitStack() as stack:
            connection = stack.enter_context(self._connect(target, seconds))
            deadline = stack.enter_context(_Deadline(connection, seconds))
            try:
                if isinstance(connection, ssl.SSLSocket):
                    connection.do_handshake()
                exchange = http.client.HTTPConnection(target.host, target.port)
                # With the port of its scheme a host is named without it.
                exchange.default_port = _DEFAULT_PORTS["https" if target.secure else "http"]
                exchange.sock = connection
                sent = {"Accept-Encoding": "identity", "Connection": "close"} | dict(headers or {})
                exchange.request(method, target.path, body, sent)
                response = stack.enter_context(exchange.getresponse())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise deadline.error(error) from error
            yield Answer(response, deadline, max_bytes)

    def check(self, url: str, tenant: str = DEFAULT_TENANT) -> Target:
        """Resolve a URL and check all addresses of its host. Raises `OutboundError`, after some seconds at the latest.

        A thread that calls this waits for the name's server. An event loop awaits `check_soon`.
        """
        parts = _parts(url)
        return self._checked(*parts, self._names.resolve(tenant, parts[1], parts[2]))

    async def check_soon(self, url: str, tenant: str) -> Target:
        """Do the same as `check` without holding a thread of the caller."""
        parts = _parts(url)
        return self._checked(*parts, await self._names.resolve_soon(tenant, parts[1], parts[2]))

    def _checked(self, scheme: str, host: str, port: int, path: str, addresses: Sequence[Address]) -> Target:
        allowed = bool(addresses) and (
            Origin(scheme, host, port) in self._origins
            or all(is_allowed(address, self._networks) for address in addresses)
        )
        if not allowed and not (addresses and all(map(is_public, addresses))):
            raise AddressRefused(f"The host {host} is not on the public internet; name one that is.")
        if not allowed and (scheme != "https" or port not in _PORTS):
            raise AddressRefused(
                "The address has to begin with https:// and to use port 443 or 8443; name one that does."
            )
        return Target(scheme == "https", host, port, path, addresses)

    def _connect(self, target: Target, seconds: float) -> socket.socket:
        """Connect to the first address that answers. Raises `OutboundError`."""
        for address in target.addresses:
            try:
                plain = socket.create_connection((str(address), target.port), seconds / len(target.addresses))
            except OSError:
                continue
            plain.settimeout(seconds)
            if not target.secure:
                return plain
            return self._context.wrap_socket(plain, server_hostname=target.host, do_handshake_on_connect=False)
        raise OutboundError(f"The host {target.host} does not answer; try again.")


def _parts(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path with query. Raises `OutboundError`."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except (ValueError, UnicodeError):
        raise AddressRefused("This is no address; write one like https://host/path.") from None
    if not host or parts.scheme not in _DEFAULT_PORTS or not url.isprintable() or " " in url:
        raise AddressRefused("This is no address of the web; write one like https://host/path.")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("The address holds a name or a password, which would be kept and logged; leave them out.")
    return parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
