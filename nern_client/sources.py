"""Local files to send, as a whole or from an offset."""

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from nern_client.effects import Content
from nern_client.errors import FileChanged

_CHUNK_BYTES = 2**18
# Longest name of a job, in characters.
_LONGEST_NAME = 200
LocalFile: TypeAlias = str | os.PathLike[str] | BinaryIO


@dataclass(frozen=True, slots=True)
class Source:
    """A file with its size and SHA-256."""

    file: Path | BinaryIO
    size: int
    sha256: str

    @classmethod
    def of(cls, file: LocalFile) -> "Source":
        """Read a file once for its digest. An open file must be seekable and is read from its start."""
        if isinstance(file, (str, os.PathLike)):
            path = Path(file)
            with path.open("rb") as opened:
                return cls(path, *_measure(opened))
        return cls(file, *_measure(file))

    @property
    def name(self) -> str | None:
        """The file's name as the name of a job; None for an open file without a name.

        As in the service, characters that a job's name cannot have are left out, and the rest is cut off.
        """
        path = self.file if isinstance(self.file, Path) else getattr(self.file, "name", None)
        if not isinstance(path, (str, Path)):
            # Bytes in memory have no name, and a file opened by its descriptor has a number.
            return None
        return "".join(filter(str.isprintable, Path(path).name))[:_LONGEST_NAME].strip() or None

    @property
    def content_digest(self) -> str:
        """The value of RFC 9530's `Content-Digest`."""
        return f"sha-256=:{base64.b64encode(bytes.fromhex(self.sha256)).decode()}:"

    def content(self, start: int = 0) -> Content:
        """Return the bytes from `start` to the end as a body. Sending raises `FileChanged` if the file got shorter."""
        return Content(self.size - start, lambda: self._chunks(start))

    def _chunks(self, start: int) -> Iterator[bytes]:
        if isinstance(self.file, Path):
            with self.file.open("rb") as opened:
                yield from self._read(opened, start)
        else:
            yield from self._read(self.file, start)

    def _read(self, opened: BinaryIO, start: int) -> Iterator[bytes]:
        opened.seek(start)
        left = self.size - start
        while left:
            data = opened.read(min(_CHUNK_BYTES, left))
            if not data:
                raise FileChanged("The file became shorter while it was sent; send it again once it no longer changes.")
            left -= len(data)
            yield data


def _measure(opened: BinaryIO) -> tuple[int, str]:
    opened.seek(0)
    digest = hashlib.sha256()
    size = 0
    while data := opened.read(_CHUNK_BYTES):
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()
