"""A file that is still arriving, under a name of its own beside the one that it will have."""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from nern_client.effects import Answer
from nern_client.errors import DigestMismatch

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
_READ_BYTES = 2**20


class PartialFile:
    """Takes a representation of known size and digest. Its name carries the digest: another version is another file."""

    def __init__(self, path: Path, expected: int, sha256: str) -> None:
        self.path = path
        self.size = 0
        self._expected = expected
        self._sha256 = sha256
        self._partial = path.with_name(f".{path.name}.{sha256[:16]}.part")
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None

    def open(self) -> bool:
        """Open the file and hash what is there; returns whether there was something."""
        self._file = self._partial.open("a+b")
        self._file.seek(0)
        while data := self._file.read(_READ_BYTES):
            self._digest.update(data)
            self.size += len(data)
        if self.size > self._expected:
            self.begin_anew()
        return self.size > 0

    @property
    def headers(self) -> Mapping[str, str]:
        """Ask for what is missing, as long as it is of this very version, and for the bytes as they are."""
        whole = {"Accept-Encoding": "identity"}
        if not self.size:
            return whole
        return whole | {"Range": f"bytes={self.size}-", "If-Range": f'"{self._sha256}"'}

    def begin(self, answer: Answer) -> bool:
        """Go on, or begin anew where the server sends everything; an error is not for this file."""
        if answer.status == 206:
            found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
            if found is None or int(found[1]) != self.size:
                raise DigestMismatch("The server has sent another range than it was asked for")
            return True
        if answer.status == 200:
            self.begin_anew()
            return True
        return False

    def write(self, data: bytes) -> None:
        """Append bytes."""
        if self.size + len(data) > self._expected:
            self.begin_anew()
            raise DigestMismatch(f"The server sends more than the {self._expected:,} bytes that the job tells.")
        self._opened.write(data)
        self._digest.update(data)
        self.size += len(data)

    def begin_anew(self) -> None:
        """Drop what is there."""
        self._opened.truncate(0)
        self._digest = hashlib.sha256()
        self.size = 0

    def is_right(self) -> bool:
        """Whether the whole file has the digest."""
        return self._digest.hexdigest() == self._sha256

    def publish(self) -> None:
        """Give the file its name, at once and on the disk. Raises `DigestMismatch`."""
        if not self.is_right():
            raise DigestMismatch(f"What came for {self.path.name} has not the SHA-256 that the job tells.")
        self._opened.flush()
        os.fsync(self._opened.fileno())
        self.close()
        if self.path.exists():
            shutil.copymode(self.path, self._partial)
        self._partial.replace(self.path)

    def remove(self) -> None:
        """Keep nothing."""
        self.close()
        self._partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Keep what has arrived for the next time."""
        if self._file is not None:
            self._file.close()

    @property
    def _opened(self) -> BinaryIO:
        assert self._file is not None
        return self._file
