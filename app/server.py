"""The HTTP server of the API: uvicorn, with limits on what it does before the application is asked."""

import asyncio
import gc
import math
from contextlib import suppress
from socket import socket
from typing import Any

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.connections import CONNECTIONS, Connections, end_when_not_read, raise_descriptor_limit
from app.edge.local_only import is_loopback
from app.events.reader import AT_STOP
from app.schema import require_schema
from app.settings import Settings
from app.storage import check_storage
from nern_core.errors import NernError

_log = structlog.get_logger()
# Of the request line and all headers.
_LARGEST_HEAD = 64 * 2**10
_SECONDS_FOR_HEAD = 15.0
_SECONDS_TO_STOP = 20
_SECONDS_BETWEEN_ACCEPT_ERRORS = 60.0
# The exit status of uvicorn itself.
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
        h11_max_incomplete_event_size=_LARGEST_HEAD,
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
    """A server that does not stop now and then to look through what it will need for ever."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start to listen. What has been made by now is not garbage: to find that out again takes 0.1 s each time."""
        asyncio.get_running_loop().set_exception_handler(_LoopErrors())
        await super().startup(sockets)
        gc.collect()
        gc.freeze()


class _LoopErrors:
    """Logs errors of the event loop; those of accepting connections, which come by the thousand, once a minute."""

    def __init__(self) -> None:
        self._next_log = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error, as `asyncio.loop.set_exception_handler` has it."""
        if not context.get("message", "").startswith("socket.accept()"):
            loop.default_exception_handler(context)
        elif loop.time() >= self._next_log:
            self._next_log = loop.time() + _SECONDS_BETWEEN_ACCEPT_ERRORS
            _log.error("connections_not_accepted", error=repr(context.get("exception")))


def refuse_open_service(settings: Settings, host: str) -> None:
    """A service without keys is for its own machine. Raises `NernError` (`keys_needed`)."""
    if not settings.keys_required and host != "localhost" and not is_loopback(host):
        raise NernError(
            "keys_needed",
            f"Without API keys nobody but this machine is served: set NERN_AUTHENTICATION=keys to listen on {host}, "
            "and make a key with `nern keys create`.",
        )


class PromptProtocol(H11Protocol):
    """HTTP/1.1 whose requests start promptly: a connection is closed if the head of one does not come in time.

    uvicorn itself has a limit only for the pause between two requests. Which connections there may be is said by
    `Connections`, and one whose client does not read for `write_timeout` seconds is ended.
    """

    write_timeout = 60.0
    _head_due: asyncio.TimerHandle | None = None
    _connections: Connections | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """A client has connected."""
        super().connection_made(transport)
        self._connections = self.app_state.get(CONNECTIONS)
        if self._connections is not None and not self._connections.admit(self, self.client[0] if self.client else ""):
            transport.abort()
            return
        end_when_not_read(transport.get_extra_info("socket"), self.write_timeout)
        self._watch_head()

    def drop(self) -> None:
        """Close the connection, on which no request is under way, at once."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        if self._connections is not None:
            self._connections.forget(self)
        if self._head_due is not None:
            self._head_due.cancel()

    def shutdown(self) -> None:
        """The server stops: whoever waits for events is let go, so that it need not be waited for."""
        super().shutdown()
        if AT_STOP in self.app_state:
            self.app_state[AT_STOP]()

    def on_response_complete(self) -> None:
        """An answer has been sent. Another request may have come already."""
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
