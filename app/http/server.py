"""HTTP server of the API: uvicorn, with limits that apply before the application is called."""

import asyncio
import gc
import math
from contextlib import suppress
from socket import socket
from typing import Any, ClassVar

import h11
import structlog
import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.db.schema import require_schema
from app.http.connections import AT_STOP, CONNECTIONS, Connections, end_when_not_read, raise_descriptor_limit
from app.http.middleware.local_only import is_loopback
from app.http.parser import BoundedConnection
from app.kit.problems import MEDIA_TYPE
from app.settings import Settings
from app.storage import check_storage
from nern_core.contract.errors import NernError

_log = structlog.get_logger()
_SECONDS_FOR_HEAD = 15.0
_SECONDS_TO_STOP = 20
# Parsed in one round of the event loop.
_BYTES_OF_ROUND = 64 * 2**10
_SECONDS_BETWEEN_ACCEPT_ERRORS = 60.0
# uvicorn's own exit status.
_NOT_STARTED = 3


def serve(host: str, port: int) -> None:
    """Serve the API until SIGTERM or SIGINT.

    Raises `NernError` (`keys_needed`, `storage_settings`, `other_schema`, `no_database`, `unsafe_database`).
    """
    settings = Settings()
    refuse_open_service(settings, host)
    check_storage(settings)
    require_schema(settings)
    config = uvicorn.Config(
        "app.main:app",
        host=host,
        port=port,
        http=PromptProtocol,
        ws="none",
        forwarded_allow_ips=list(map(str, settings.trusted_proxies)),
        timeout_graceful_shutdown=_SECONDS_TO_STOP,
        server_header=False,
        access_log=False,
        log_config=None,
    )
    raise_descriptor_limit(settings.max_connections)
    PromptProtocol.write_timeout = settings.write_timeout.total_seconds()
    config.load_app()
    server = _Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise SystemExit(_NOT_STARTED)


class _Server(uvicorn.Server):
    """A server that excludes its permanent objects from garbage collection."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start to listen. Freeze the permanent objects first, because scanning them takes 0.1 s each time."""
        asyncio.get_running_loop().set_exception_handler(_LoopErrors())
        await super().startup(sockets)
        gc.collect()
        gc.freeze()


class _LoopErrors:
    """Logs errors of the event loop; errors of `accept`, which come in thousands, once a minute."""

    def __init__(self) -> None:
        self._next_log = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error, as `asyncio.loop.set_exception_handler` specifies."""
        if not context.get("message", "").startswith("socket.accept()"):
            loop.default_exception_handler(context)
        elif loop.time() >= self._next_log:
            self._next_log = loop.time() + _SECONDS_BETWEEN_ACCEPT_ERRORS
            _log.error("connections_not_accepted", error=repr(context.get("exception")))


def refuse_open_service(settings: Settings, host: str) -> None:
    """Refuse to serve other machines without API keys. Raises `NernError` (`keys_needed`)."""
    if not settings.keys_required and host != "localhost" and not is_loopback(host):
        raise NernError(
            "keys_needed",
            f"Without API keys the service listens on this machine only: set NERN_AUTHENTICATION=keys to listen on "
            f"{host}, and create a key with `nern keys create`.",
        )


class PromptProtocol(H11Protocol, asyncio.BufferedProtocol):
    """HTTP/1.1 with a time limit for request heads: a connection whose head does not arrive in time is closed.

    uvicorn itself limits only the pause between two requests. `Connections` limits the number of connections, and a
    connection whose client does not read for `write_timeout` seconds is ended. `BoundedConnection` limits the work of
    parsing.
    """

    write_timeout = 60.0
    # Read into and emptied within one step of the event loop, so that one serves all connections.
    _buffer: ClassVar = memoryview(bytearray(_BYTES_OF_ROUND))
    _head_due: asyncio.TimerHandle | None = None
    _connections: Connections | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn: BoundedConnection = BoundedConnection()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Admit or abort a new connection."""
        super().connection_made(transport)
        self._connections = self.app_state.get(CONNECTIONS)
        if self._connections is not None and not self._connections.admit(self, self.client[0] if self.client else ""):
            transport.abort()
            return
        end_when_not_read(transport.get_extra_info("socket"), self.write_timeout)
        self._watch_head()

    def drop(self) -> None:
        """Close the connection, which has no active request, at once."""
        self.transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the memory that asyncio reads into: a plain protocol would get four times as many bytes at once."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse the bytes that asyncio has read."""
        self.data_received(bytes(self._buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Handle received bytes."""
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the connection is closed."""
        super().connection_lost(exc)
        if self._connections is not None:
            self._connections.forget(self)
        if self._head_due is not None:
            self._head_due.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be parsed, unless its answer has begun, and close the connection."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            # Nobody waits for what the application would answer now.
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            details = self.conn.refusal.details
            body = details.model_dump_json(exclude_none=True).encode()
            headers = [("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(body))), ("Connection", "close")]
            for event in (
                h11.Response(status_code=details.status, headers=headers, reason=details.title),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def shutdown(self) -> None:
        """Stop, and end requests that wait for events, so that the server need not wait for them."""
        super().shutdown()
        if AT_STOP in self.app_state:
            self.app_state[AT_STOP]()

    def on_response_complete(self) -> None:
        """Start to wait for the next request, which may have arrived already."""
        super().on_response_complete()
        self._watch_head()

    def _watch_head(self) -> None:
        is_silent = self.conn.their_state is h11.IDLE
        if self._connections is not None:
            (self._connections.note_silence if is_silent else self._connections.note_request)(self)
        if is_silent:
            if self._head_due is None:
                self._head_due = self.loop.call_later(_SECONDS_FOR_HEAD, self.transport.close)
        elif self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None
