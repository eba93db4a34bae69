"""A server in front of the service that injects faults: one connection per request, one fault per connection."""

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
    """One request in transit: its head, the client that sends its rest, and the service."""

    head: bytes
    begun: bytes
    client: socket.socket
    service: tuple[str, int]

    def ask(self, most: int | None = None) -> bytes:
        """Forward the request, or only the first `most` bytes of its body; return the answer."""
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
        """Forward the request, and stream the answer back up to `most` bytes of its body."""
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
        """Reset the connection."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.client.close()


Fault = Callable[[Exchange], None]


def nothing_wrong(exchange: Exchange) -> None:
    exchange.answer(exchange.ask())


def reset(exchange: Exchange) -> None:
    """Reset the connection before the request is forwarded."""
    exchange.reset()


def lose_answer(exchange: Exchange) -> None:
    """Forward the request, but drop the answer."""
    assert exchange.ask()
    exchange.reset()


def refuse(status: str, *headers: str, body: str = "") -> Fault:
    """Return a fault that answers instead of the service."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", body]

    def fault(exchange: Exchange) -> None:
        exchange.answer("\r\n".join(lines).encode())

    return fault


def cut_answer(at: int) -> Fault:
    """Return a fault that cuts the answer's body after `at` bytes."""

    def fault(exchange: Exchange) -> None:
        head, _, body = exchange.ask().partition(b"\r\n\r\n")
        assert len(body) > at
        exchange.answer(head + b"\r\n\r\n" + body[:at])
        # A regular end in the middle of a body, because a reset might overtake the bytes before it.

    return fault


def cut_long_answer(at: int) -> Fault:
    """Like `cut_answer`, for answers too long to hold in memory; if `at` is beyond the end, nothing is cut."""

    def fault(exchange: Exchange) -> None:
        exchange.stream(at)

    return fault


def cut_request(at: int) -> Fault:
    """Return a fault that cuts the request's body after `at` bytes."""

    def fault(exchange: Exchange) -> None:
        exchange.ask(at)
        exchange.reset()

    return fault


def without_ranges(exchange: Exchange) -> None:
    """Forward the request without its range, as a cache without support for ranges does."""
    exchange.head = re.sub(rb"\r\n(if-)?range: [^\r]*", b"", exchange.head, flags=re.IGNORECASE)
    nothing_wrong(exchange)


def damage(exchange: Exchange) -> None:
    """Change one byte of the answer's body."""
    head, _, body = exchange.ask().partition(b"\r\n\r\n")
    exchange.answer(head + b"\r\n\r\n" + body[:-1] + bytes([body[-1] ^ 1]))


@dataclass
class Wire:
    """A wire between client and service. Each fault applies to the next matching request."""

    port: int
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def harm(self, request: str, *faults: Fault) -> None:
        """Apply these faults, one after another, to requests that begin with `request`, such as `POST /jobs`."""
        self.faults += [(request, fault) for fault in faults]

    def next_fault(self, head: bytes) -> Fault:
        """Return the fault for a request."""
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
    """Run a wire to the service on this port."""

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
