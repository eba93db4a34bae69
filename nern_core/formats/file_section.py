"""A part of an open file that reads like a file of its own. Torch-free."""

import io
import os
from typing import BinaryIO


class FileSection(io.RawIOBase):
    """`length` bytes of a seekable file from `start`; closing it leaves the file open."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file = file
        self._start, self._length = start, length
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position within the section, or behind its end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise ValueError(f"the position {base + offset} is before the start")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # any writable buffer
        """Read up to the end of the section."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._length - self._at))
        self._file.seek(self._start + self._at)
        data = self._file.read(count)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def section(file: BinaryIO, start: int, length: int) -> BinaryIO:
    """Return a part of an open file as a buffered file."""
    return io.BufferedReader(FileSection(file, start, length))
