"""The bytes of one request, written behind those of an upload in pieces."""

import fcntl
import os
from http import HTTPStatus
from io import FileIO
from typing import TYPE_CHECKING

from app.kit.durable_files import full_disk_told
from app.kit.problems import Problem
from app.uploads.models import PartialUpload

if TYPE_CHECKING:
    from app.uploads.partial import PartialUploads

_BYTES_BETWEEN_FLUSHES = 16 * 2**20


class Appender:
    """Writes the bytes of one request. Created by `PartialUploads.append`."""

    def __init__(self, uploads: "PartialUploads", upload: PartialUpload, file: FileIO) -> None:
        self._uploads = uploads
        self._upload = upload
        self._file = file
        self._flushed = self._written = upload.received
        file.truncate(upload.received)
        file.seek(upload.received)

    def write(self, data: bytes) -> None:
        """Append bytes. Raises `Problem` (`beyond-upload-length`) and `DiskFull`."""
        if self._written + len(data) > self._upload.length:
            raise _beyond(self._upload.length, self._written)
        self._uploads.require_room(len(data))
        rest = memoryview(data)
        with full_disk_told(self._uploads.folder):
            while rest:
                rest = rest[self._file.write(rest) :]
        self._written += len(data)
        if self._written - self._flushed >= _BYTES_BETWEEN_FLUSHES:
            self._flush()

    def end(self) -> PartialUpload:
        """End the request; return the upload, which is finished if this was the last piece. Raises `Problem`."""
        self._flush()
        if self._written == self._upload.length:
            return self._uploads.finish(self._upload)
        return self._uploads.find(self._upload.tenant, self._upload.id)

    def close(self) -> None:
        """Keep the received bytes, and release the lock. Raises `Problem` (`unknown-upload`)."""
        with self._file:
            self._flush()

    def _flush(self) -> None:
        """Flush the written bytes to the disk and update the row.

        Only `finish` records the last byte, because a complete row means a usable checkpoint.
        """
        if self._flushed < self._written:
            with full_disk_told(self._uploads.folder):
                os.fsync(self._file.fileno())
            if self._written < self._upload.length:
                self._uploads.advance(self._upload, self._written)
            self._flushed = self._written


def lock(file: FileIO) -> None:
    """Lock the file of an upload for one request. Raises `Problem` (`upload-locked`)."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Problem(
            HTTPStatus.LOCKED,
            "upload-locked",
            "Another request is writing to this upload; wait until it ends, ask with HEAD for the offset, and resume.",
            headers={"Retry-After": "2"},
        ) from error


def _beyond(length: int, received: int) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "beyond-upload-length",
        f"The upload was begun with Upload-Length: {length}, and more bytes than that have come. Send the file from "
        f"byte {received} to its end and no more, or begin another upload with its right length.",
        headers={"Connection": "close"},
    )
