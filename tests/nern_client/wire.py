"""A server in front of the service that does harm on the wire: one connection for each request, one fault for each."""

import re
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# SO_LINGER with a time of zero: closing sends a reset.
_ABORT = struct.pack("ii", 1, 0)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_READ_BYTES = 2**16


@dataclass
class Exchange:
    """One request on its way: its head, the client that sends the rest of it, and the service."""

    head: bytes
    begun: bytes
    client: socket.socket
    service: tuple[str, int]

    def ask(self, most: int | None = None) -> bytes:
        """Hand the request on, or the first so many bytes of its body; returns the answer."""
        head = re.sub(rb"\r\nconnection: [^\r]*", b"", self.head, flags=re.IGNORECASE)
        with socket.create_connection(self.service) as service:
            service.sendall(head[:-2] + b"Connection: close\r\n\r\n")
            found = _LENGTH.search(self.head)
            left = int(found[1]) if found else 0
            for data in self._body(left if most is None else min(most, left)):
                service.sendall(data)
            if most is not None and most < left:
                return b""
            return b"".join(iter(lambda: service.recv(_READ_BYTES), b""))

    def stream(self, most: int) -> None:
        """Hand the request on, and the answer back as it comes, up to so many bytes of its body."""
        head = re.sub(rb"\r\nconnection: [^\r]*", b"", self.head, flags=re.IGNORECASE)
        with socket.create_connection(self.service) as service:
            service.sendall(head[:-2] + b"Connection: close\r\n\r\n")
            received = b""
            while b"\r\n\r\n" not in received:
                received += service.recv(_READ_BYTES)
            head, _, body = received.partition(b"\r\n\r\n")
            self.answer(head + b"\r\n\r\n")
            body = body or service.recv(_READ_BYTES)
            while body and most:
                self.answer(body[:most])
                most -= min(most, len(body))
                body = service.recv(_READ_BYTES)

    def _body(self, left: int) -> Iterator[bytes]:
        data = self.begun[:left]
        while left:
            yield data
            left -= len(data)
            data = self.client.recv(min(_READ_BYTES, left)) if left else b""

    def answer(self, data: bytes) -> None:
        """Send bytes to the client."""
        self.client.sendall(data)

    def reset(self) -> None:
        """Break the connection off."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.client.close()


Fault = Callable[[Exchange], None]


def nothing_wrong(exchange: Exchange) -> None:
    exchange.answer(exchange.ask())


def reset(exchange: Exchange) -> None:
    """The request reaches nobody."""
    exchange.reset()


def lose_answer(exchange: Exchange) -> None:
    """The service does what it is asked for, and nobody hears of it."""
    assert exchange.ask()
    exchange.reset()


def refuse(status: str, *headers: str, body: str = "") -> Fault:
    """Answer in the service's place."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", body]

    def fault(exchange: Exchange) -> None:
        exchange.answer("\r\n".join(lines).encode())

    return fault


def cut_answer(at: int) -> Fault:
    """Only so many bytes of the answer's body arrive."""

    def fault(exchange: Exchange) -> None:
        head, _, body = exchange.ask().partition(b"\r\n\r\n")
        assert len(body) > at
        exchange.answer(head + b"\r\n\r\n" + body[:at])
        # An orderly end in the middle of a body: a reset might overtake the bytes before it.

    return fault


def cut_long_answer(at: int) -> Fault:
    """As `cut_answer`, for what is too long to be held here; beyond the end of the body, nothing is cut."""

    def fault(exchange: Exchange) -> None:
        exchange.stream(at)

    return fault


def cut_request(at: int) -> Fault:
    """Only so many bytes of the request's body arrive."""

    def fault(exchange: Exchange) -> None:
        exchange.ask(at)
        exchange.reset()

    return fault


def without_ranges(exchange: Exchange) -> None:
    """The service, or a cache before it, knows no ranges."""
    exchange.head = re.sub(rb"\r\n(if-)?range: [^\r]*", b"", exchange.head, flags=re.IGNORECASE)
    nothing_wrong(exchange)


def damage(exchange: Exchange) -> None:
    """A byte of the body arrives as another one."""
    head, _, body = exchange.ask().partition(b"\r\n\r\n")
    exchange.answer(head + b"\r\n\r\n" + body[:-1] + bytes([body[-1] ^ 1]))


@dataclass
class Wire:
    """What is between client and service. Each of `faults` happens to the next request that it is for."""

    port: int
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def harm(self, request: str, *faults: Fault) -> None:
        """Do these, one after another, to requests that begin so, such as `POST /jobs`."""
        self.faults += [(request, fault) for fault in faults]

    def next_fault(self, head: bytes) -> Fault:
        """What happens to a request."""
        request = head.partition(b" HTTP/")[0].decode()
        self.seen.append(request)
        self.heads.append(head.decode().lower())
        for position, (prefix, fault) in enumerate(self.faults):
            if request.startswith(prefix):
                del self.faults[position]
                return fault
        return nothing_wrong

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def wire_to(service_port: int) -> Iterator[Wire]:
    """A wire to the service on this port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            received = b""
            while b"\r\n\r\n" not in received:
                data = self.request.recv(_READ_BYTES)
                if not data:
                    return
                received += data
            head, _, begun = received.partition(b"\r\n\r\n")
            exchange = Exchange(head + b"\r\n\r\n", begun, self.request, ("127.0.0.1", service_port))
            wire.next_fault(head)(exchange)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        wire = Wire(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield wire
        finally:
            server.shutdown()
            thread.join()
