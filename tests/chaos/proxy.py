"""A TCP proxy with faults on demand: delays, lost bytes, resets or downtime, in one direction or both."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Flag, auto

_CHUNK = 64 * 1024
# SO_LINGER with a time of zero: closing sends a reset.
_ABORT = struct.pack("ii", 1, 0)


class Direction(Flag):
    """Direction of bytes."""

    TO_SERVER = auto()
    TO_CLIENT = auto()
    BOTH = TO_SERVER | TO_CLIENT


class Proxy:
    """Forwards bytes between its own port and a server's. Created by `proxy_to`; thread-safe."""

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self._server_port = server_port
        self._latency = 0.0
        self._swallowed = Direction(0)
        self._down = False
        self._sockets: set[asyncio.StreamWriter] = set()
        self._injured: set[asyncio.StreamWriter] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._listener = starting.result(10)
        self.port = int(self._listener.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Drop all connections and end."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def slow_down(self, seconds: float) -> None:
        """Delay every chunk by `seconds`."""
        self._latency = seconds

    def swallow(self, direction: Direction) -> None:
        """Discard the bytes of a direction, while connections stay open: a black hole."""
        self._swallowed = direction

    def go_down(self) -> None:
        """Reset all connections, including new ones."""
        self._down = True
        self.reset()

    def reset(self) -> None:
        """Reset all connections."""
        self._loop.call_soon_threadsafe(self._abort, set(self._sockets))

    def heal(self) -> None:
        """End all faults. Connections that have lost bytes are reset, as after a partition that outlasted TCP."""
        self._latency, self._swallowed, self._down = 0.0, Direction(0), False
        self._loop.call_soon_threadsafe(self._abort, self._injured)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._down:
            self._abort({writer})
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            self._abort({writer})
            return
        ends = {writer, server_writer}
        self._sockets |= ends
        try:
            await asyncio.gather(
                self._pump(reader, server_writer, Direction.TO_SERVER, ends),
                self._pump(server_reader, writer, Direction.TO_CLIENT, ends),
            )
        except OSError:
            self._abort(ends)
        finally:
            self._sockets -= ends
            self._injured -= ends
            for end in ends:
                end.close()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        direction: Direction,
        ends: set[asyncio.StreamWriter],
    ) -> None:
        while data := await source.read(_CHUNK):
            if self._latency:
                await asyncio.sleep(self._latency)
            if direction in self._swallowed:
                self._injured |= ends
                continue
            target.write(data)
            await target.drain()
        # Neither protocol continues in one direction after the other has ended.
        target.close()

    def _abort(self, ends: set[asyncio.StreamWriter]) -> None:
        for end in list(ends):
            connection = end.get_extra_info("socket")
            if connection is not None and connection.fileno() >= 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            end.transport.abort()

    async def _end(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._abort(set(self._sockets))
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def proxy_to(server_port: int) -> Iterator[Proxy]:
    """Run a proxy in front of the server on this port."""
    proxy = Proxy(server_port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
