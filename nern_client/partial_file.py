"""An unfinished download, under a temporary name beside its final name."""

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
    """Receives a file of known size and digest. The digest is part of the temporary name, so versions do not mix."""

    def __init__(self, path: Path, expected: int, sha256: str) -> None:
        self.path = path
        self.size = 0
        self._expected = expected
        self._sha256 = sha256
        self._partial = path.with_name(f".{path.name}.{sha256[:16]}.part")
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None

    def open(self) -> bool:
        """Open the file and hash its content; return true if there was any."""
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
        """Headers that request the missing bytes, of this version only and without compression."""
        whole = {"Accept-Encoding": "identity"}
        if not self.size:
            return whole
        return whole | {"Range": f"bytes={self.size}-", "If-Range": f'"{self._sha256}"'}

    def begin(self, answer: Answer) -> bool:
        """Resume on 206, start from scratch on 200; return false for an error, whose body is not wanted."""
        if answer.status == 206:
            found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
            if found is None or int(found[1]) != self.size:
                raise DigestMismatch("The server sent a different byte range than requested.")
            return True
        if answer.status == 200:
            self.begin_anew()
            return True
        return False

    def write(self, data: bytes) -> None:
        """Append bytes."""
        if self.size + len(data) > self._expected:
            self.begin_anew()
            raise DigestMismatch(f"The server sends more than the {self._expected:,} bytes of the job's result.")
        self._opened.write(data)
        self._digest.update(data)
        self.size += len(data)

    def begin_anew(self) -> None:
        """Discard the content."""
        self._opened.truncate(0)
        self._digest = hashlib.sha256()
        self.size = 0

    def is_right(self) -> bool:
        """Return true if the file has the expected digest."""
        return self._digest.hexdigest() == self._sha256

    def publish(self) -> None:
        """Sync the file to disk and move it to its final name. Raises `DigestMismatch`."""
        if not self.is_right():
            raise DigestMismatch(f"The download of {self.path.name} does not have the SHA-256 of the job's result.")
        self._opened.flush()
        os.fsync(self._opened.fileno())
        self.close()
        if self.path.exists():
            shutil.copymode(self.path, self._partial)
        self._partial.replace(self.path)

    def remove(self) -> None:
        """Close and delete the file."""
        self.close()
        self._partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and keep it for the next attempt."""
        if self._file is not None:
            self._file.close()

    @property
    def _opened(self) -> BinaryIO:
        assert self._file is not None
        return self._file
