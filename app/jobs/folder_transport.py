"""kombu's transport of messages as files in a folder, changed to survive a full disk.

kombu may leave an empty message file, and its reader then fails. Here a file gets its name only when it is complete,
and a file that is not a message is dropped, because a job is announced again anyway.
"""

import os
import uuid
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import Any

import structlog
from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps

_log = structlog.get_logger()


class Channel(filesystem.Channel):
    """A channel that leaves no incomplete files."""

    def _put(self, queue: str, payload: object, **_: object) -> None:  # type: ignore[override] # as kombu has it
        """Write a message. Raises `ChannelError`, and leaves no file, if that fails."""
        # Named as kombu does, because messages are read in the order of their names.
        path = Path(self.data_folder_out) / f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        temporary = path.with_suffix(".writing")
        try:
            temporary.write_bytes(dumps(payload).encode())  # type: ignore[no-untyped-call] # kombu has no annotations
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise ChannelError(f"Cannot add a message to {os.fspath(path.parent)!r}: {error}") from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ANN401 # kombu names no timeout here
        """Take the next message. Raises `Empty`."""
        try:
            return super()._get(queue)  # type: ignore[no-untyped-call] # the same
        except ValueError as error:
            _log.warning("message_dropped", queue=queue, error=repr(error))
            raise Empty from error

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Record a queue of an exchange, replacing a record that a full disk has left empty."""
        table = self._exchange_file(exchange)  # type: ignore[no-untyped-call] # the same
        if table.exists() and not table.stat().st_size:
            table.unlink()
        super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[no-untyped-call] # the same


class Transport(filesystem.Transport):
    """The transport that uses this channel."""

    Channel = Channel
