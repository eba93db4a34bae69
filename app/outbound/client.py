"""The only client for requests to addresses that users name: webhooks, checkpoints at a URL.

A host name is resolved once, all of its addresses are checked, and the connection goes to one of them, so a name whose
addresses change (DNS rebinding) cannot lead elsewhere. Certificates and the header `Host` use the name. Redirects,
proxies of the environment and compressed bodies are not supported.
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


class Answer:
    """The response; `chunks` reads its body."""

    def __init__(self, response: http.client.HTTPResponse, deadline: "_Deadline", max_bytes: int) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._deadline = deadline
        self._max_bytes = max_bytes

    def chunks(self) -> Iterator[bytes]:
        """Iterate over the body. Raises `OutboundError` if it is too large, too slow or incomplete."""
        read = 0
        while chunk := self._next():
            read += len(chunk)
            if read > self._max_bytes:
                raise OutboundError(f"The answer is larger than the limit of {self._max_bytes:,} bytes.")
            yield chunk
        if self._deadline.over:
            raise self._deadline.error()
        if self._response.length:
            raise OutboundError("The answer is incomplete because the connection was lost; try again.")

    def _next(self) -> bytes:
        try:
            return self._response.read1(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._deadline.error(error) from error


class _Deadline:
    """Ends a connection at its deadline, because the socket's own timeout restarts with every byte."""

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
        """Return the error of the request: the deadline, if it has passed, or else the cause."""
        if self.over:
            return OutboundError(f"The answer took longer than {self._seconds:.3g} seconds; try again.")
        return OutboundError(f"The request has failed ({cause!r}); try again.")

    def _end(self) -> None:
        self.over = True
        with suppress(OSError):
            # Not the method of the TLS socket, after which reads would continue without TLS.
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
        """Send a request for a tenant; it may take `seconds` from the connection to the end of the answer.

        Raises `OutboundError`. An answer with an error status is not an error here.
        """
        target = self.check(url, tenant)
        with ExitStack() as stack:
            connection = stack.enter_context(self._connect(target, seconds))
            deadline = stack.enter_context(_Deadline(connection, seconds))
            try:
                if isinstance(connection, ssl.SSLSocket):
                    connection.do_handshake()
                exchange = http.client.HTTPConnection(target.host, target.port)
                # `Host` omits the default port of the scheme.
                exchange.default_port = _DEFAULT_PORTS["https" if target.secure else "http"]
                exchange.sock = connection
                sent = {"Accept-Encoding": "identity", "Connection": "close"} | dict(headers or {})
                exchange.request(method, target.path, body, sent)
                response = stack.enter_context(exchange.getresponse())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise deadline.error(error) from error
            yield Answer(response, deadline, max_bytes)

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
    """Split a URL into scheme, host, port and path with query. Raises `OutboundError`."""
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
    return parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
