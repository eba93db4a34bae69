"""Uploads to and reads from a bucket: hashed while uploading, read in pieces."""

import hashlib
import io
import os
from collections.abc import Iterator
from typing import BinaryIO

from app.storage.artifacts import StoredArtifact
from app.storage.s3.bucket import Bucket, ObjectFound

# An object up to this size is written by one request.
_PART_BYTES = 8 * 2**20
# S3's limit is 10,000.
_MOST_PARTS = 9_000
_READ_BYTES = 2 * 2**20
_LOOK_BYTES = 2**20


def upload(bucket: Bucket, key: str, file: BinaryIO, artifact: StoredArtifact) -> None:
    """Write the file with this size and digest to the key.

    It is hashed again while it is sent. If it has changed, no object appears, and this raises `OSError`.
    """
    part_bytes = max(_PART_BYTES, -(-artifact.size // _MOST_PARTS))

    def parts() -> Iterator[bytes]:
        return _parts(file, artifact.sha256, part_bytes)

    if artifact.size <= part_bytes:
        bucket.put(key, b"".join(parts()))
    else:
        bucket.upload(key, parts, part_bytes)


def chunks(bucket: Bucket, found: ObjectFound, part: range) -> Iterator[bytes]:
    """Iterate over the bytes of a part, 2 MiB per request."""
    for start in range(part.start, part.stop, _READ_BYTES):
        yield bucket.read(found, start, min(start + _READ_BYTES, part.stop))


def opened(bucket: Bucket, found: ObjectFound) -> BinaryIO:
    """Open the object as a file; reads request about a mebibyte at a time."""
    return io.BufferedReader(_ObjectFile(bucket, found), _LOOK_BYTES)


def _parts(file: BinaryIO, sha256: str, part_bytes: int) -> Iterator[bytes]:
    file.seek(0)
    digest = hashlib.sha256()
    while data := file.read(part_bytes):
        digest.update(data)
        yield data
    if digest.hexdigest() != sha256:
        raise OSError(f"the file with the digest {sha256} has changed while it was stored")


class _ObjectFile(io.RawIOBase):
    """Raw file that reads an object on demand."""

    def __init__(self, bucket: Bucket, found: ObjectFound) -> None:
        self._bucket = bucket
        self._found = found
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._found.size}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what BufferedReader passes
        """Read into the buffer, up to the end of the object."""
        stop = min(self._position + len(buffer), self._found.size)
        if stop <= self._position:
            return 0
        data = self._bucket.read(self._found, self._position, stop)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
