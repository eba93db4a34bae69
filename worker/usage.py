"""Resource usage of a runner: memory, threads and processor time of its process, and disk space.

All of it is read from outside, from /proc and the file system, so that a runner cannot hide it. Memory and files of a
process are read through a living thread, because /proc shows nothing for a process whose first thread has ended.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 512
# Deepest nesting of folders; library caches are a few levels deep.
_MOST_LEVELS = 30
_RIGHTS_TO_LOOK = stat.S_IRUSR | stat.S_IXUSR
# Fields of /proc/PID/stat, counted from the field after the program's name.
_USER_TICKS, _SYSTEM_TICKS, _THREADS = 11, 12, 17
# Memory in /proc/PID/status: resident pages, swapped pages, and page tables.
_MEMORY_FIELDS = ("VmRSS:", "VmSwap:", "VmPTE:")
_KIBIBYTE = 1024
_ENDED = ("Z", "X")


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Number of threads of a process, and its processor time in clock ticks."""

    threads: int
    ticks: int


@dataclass(frozen=True, slots=True)
class FolderUsage:
    """Bytes on the disk by inode, and the number of files and folders, below a folder."""

    sizes: Mapping[int, int]
    files: int

    @property
    def size(self) -> int:
        """Total bytes."""
        return sum(self.sizes.values())


class HiddenFolders(Exception):
    """Folders are nested too deep to be measured, or are not readable."""


@dataclass(frozen=True, slots=True)
class UnlinkedUsage:
    """Bytes of open files without a name: deleted on the folder's disk, or in memory (memfd)."""

    on_disk: int
    in_memory: int


def memory_bytes(pid: int) -> int:
    """Return the bytes of memory that a process uses; 0 once it has ended."""
    try:
        lines = (_living_thread(pid) / "status").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return _KIBIBYTE * sum(int(line.split()[1]) for line in lines if line.startswith(_MEMORY_FIELDS))


def _living_thread(pid: int) -> Path:
    """Return the folder in /proc of a process, or of another thread if the first has ended. Raises `OSError`."""
    process = Path(f"/proc/{pid}")
    if not _has_ended(process):
        return process
    return next((thread for thread in (process / "task").iterdir() if not _has_ended(thread)), process)


def _has_ended(thread: Path) -> bool:
    try:
        return (thread / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] in _ENDED
    except OSError:
        return True


def unlinked_usage(pid: int, folder: Path) -> UnlinkedUsage:
    """Return the sizes of a process's open files without a name."""
    on_disk = in_memory = 0
    device = folder.stat().st_dev
    try:
        descriptors = list((_living_thread(pid) / "fd").iterdir())
    except OSError:  # it has ended
        return UnlinkedUsage(0, 0)
    for descriptor in descriptors:
        try:
            found = descriptor.stat()
        except OSError:  # closed meanwhile; others are not
            continue
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
            size = found.st_blocks * _BLOCK_BYTES
            on_disk += size if found.st_dev == device else 0
            in_memory += size if found.st_dev != device else 0
    return UnlinkedUsage(on_disk, in_memory)


def process_usage(pid: int) -> ProcessUsage | None:
    """Return threads and processor time of a process; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessUsage(int(fields[_THREADS]), int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS]))


def deleted_mappings(pid: int, device: int) -> set[int]:
    """Return the inodes of deleted files on a device that a process has mapped; they still use disk space."""
    found = set()
    try:
        with (_living_thread(pid) / "maps").open(errors="replace") as maps:
            for line in maps:
                _, _, _, of_device, inode, *name = line.split(maxsplit=5)
                major, _, minor = of_device.partition(":")
                if name and name[0].endswith("(deleted)\n") and os.makedev(int(major, 16), int(minor, 16)) == device:
                    found.add(int(inode))
    except OSError:  # it has ended
        pass
    return found


def folder_usage(folder: Path, most_files: int) -> FolderUsage:
    """Measure a folder, which may change meanwhile. Stops at `most_files` files.

    Raises `HiddenFolders` if folders hide their content.
    """
    sizes: dict[int, int] = {}
    files = 0
    waiting = [(os.fspath(folder), 0)]
    while waiting and files <= most_files:
        path, depth = waiting.pop()
        if depth > _MOST_LEVELS:
            raise HiddenFolders
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    files += 1
                    found = entry.stat(follow_symlinks=False)
                    sizes[found.st_ino] = found.st_blocks * _BLOCK_BYTES
                    if stat.S_ISDIR(found.st_mode):
                        if found.st_mode & _RIGHTS_TO_LOOK != _RIGHTS_TO_LOOK:
                            raise HiddenFolders
                        waiting.append((entry.path, depth + 1))
                    if files > most_files:
                        break
        except OSError:  # removed while it was counted
            continue
    return FolderUsage(sizes, files)
