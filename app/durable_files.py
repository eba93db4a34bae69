"""Files that survive a power cut, folders that are locked, and disks that are never quite full."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class DiskFull(OSError):
    """The disk is full, or only what is kept in reserve is left of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def is_full_disk(error: OSError) -> bool:
    """Whether this is one of the ways in which the system says that there is no room."""
    return error.errno in _NO_SPACE


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Raise `DiskFull` where the system says so in one of its ways."""
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
    """Make a folder and those above it; they are on the disk before this returns."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def older(path: Path, time: float) -> bool:
    """Whether a file is there that has not been modified since."""
    try:
        return path.stat().st_mtime < time
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Whether somebody on this machine holds a lock on the file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


class LockFile:
    """A lock between processes: many may share it, or one have it alone. It goes with the process that holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with others."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._locked(fcntl.LOCK_EX):
            yield

    def now(self) -> float:
        """The clock that the files beside this one are stamped by, which on a network is the server's."""
        os.utime(self._path)
        return self._path.stat().st_mtime

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        # Each opening has a lock of its own, so that threads of one process exclude each other too.
        with self._path.open("rb+") as file:
            fcntl.flock(file, kind)
            yield
