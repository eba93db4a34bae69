"""Files in and out of a bucket: hashed as they go in, read in pieces as they come out."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from app.storage.artifacts import StoredArtifact
from app.storage.s3.bucket import Bucket, ObjectFound

# Up to this an object is written by one request.
_PART_BYTES = 8 * 2**20
# S3 takes 10,000.
_MOST_PARTS = 9_000
_READ_BYTES = 2 * 2**20
_LOOK_BYTES = 2**20


def upload(bucket: Bucket, key: str, file: BinaryIO, artifact: StoredArtifact, go_on: Callable[[], None]) -> None:
    """Write the file of this size and digest to the key.

    It is hashed once more as it leaves: if it is not that file any more, nothing appears, and this raises `OSError`.
    """
    part_bytes = max(_PART_BYTES, -(-artifact.size // _MOST_PARTS))

    def parts() -> Iterator[bytes]:
        return _parts(file, artifact.sha256, part_bytes, go_on)

    if artifact.size <= part_bytes:
        bucket.put(key, b"".join(parts()))
    else:
        bucket.upload(key, parts, part_bytes)


def chunks(bucket: Bucket, found: ObjectFound, part: range) -> Iterator[bytes]:
    """The bytes of a part, some mebibytes by each request."""
    for start in range(part.start, part.stop, _READ_BYTES):
        yield bucket.read(found, start, min(start + _READ_BYTES, part.stop))


def opened(bucket: Bucket, found: ObjectFound) -> BinaryIO:
    """The object as a file to look into: what is read is asked for, about a mebibyte at a time."""
    return io.BufferedReader(_ObjectFile(bucket, found), _LOOK_BYTES)


def _parts(file: BinaryIO, sha256: str, part_bytes: int, go_on: Callable[[], None]) -> Iterator[bytes]:
    file.seek(0)
    digest = hashlib.sha256()
    while data := file.read(part_bytes):
        go_on()
        digest.update(data)
        yield data
    if digest.hexdigest() != sha256:
        raise OSError(f"the file of the digest {sha256} has changed while it was stored")


class _ObjectFile(io.RawIOBase):
    """Reads an object where it is asked to."""

    def __init__(self, bucket: Bucket, found: ObjectFound) -> None:
        self._bucket = bucket
        self._found = found
        self._position = 0

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def seekable(self) -> bool:
        """Any place can be read."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._found.size}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        """The present place."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what BufferedReader passes
        """Fill the buffer as far as the object goes."""
        stop = min(self._position + len(buffer), self._found.size)
        if stop <= self._position:
            return 0
        data = self._bucket.read(self._found, self._position, stop)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
