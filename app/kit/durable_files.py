"""Durable files that survive a power cut, locked folders, and disks with reserved space."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# EFBIG: the file system, or a limit of the process, allows no file of this size.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskFull(OSError):
    """The disk is full, except for its reserve."""

    def __init__(self, folder: Path) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def is_full_disk(error: OSError) -> bool:
    """Return whether the error means that the disk or the disk quota is full."""
    return error.errno in _NO_SPACE


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Convert the system's errors of a full disk to `DiskFull`."""
    try:
        yield
    except OSError as error:
        if is_full_disk(error):
            raise DiskFull(folder) from error
        raise


def require_room(folder: Path, size: int, reserve: int) -> None:
    """Raise `DiskFull` unless `size` more bytes leave the reserve free."""
    if shutil.disk_usage(folder).free - size < reserve:
        raise DiskFull(folder)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents; they are on the disk before this returns."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def older(path: Path, time: float) -> bool:
    """Return whether the file exists and was last modified before `time`."""
    try:
        return path.stat().st_mtime < time
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Return whether a process on this machine holds a lock on the file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


class LockFile:
    """A lock between processes, shared or exclusive. It is released when its process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock, shared with others."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock exclusively."""
        with self._locked(fcntl.LOCK_EX):
            yield

    def now(self) -> float:
        """Return the time of the clock that sets the times of files here; on a network it is the server's."""
        self._path.touch()
        return self._path.stat().st_mtime

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        # Each open file has its own lock, so threads of one process exclude each other too.
        # A file that somebody has removed is made again.
        with self._path.open("ab") as file:
            fcntl.flock(file, kind)
            yield
