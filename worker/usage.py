"""The usage of a runner: memory, threads and processor time of its process, and room on the disk.

All of it is read from outside, by /proc and the file system, so that a runner cannot hide it.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_BLOCK_BYTES = 512
# The caches of libraries are nested some levels deep.
_MOST_LEVELS = 30
_RIGHTS_TO_LOOK = stat.S_IRUSR | stat.S_IXUSR
# Fields of /proc/PID/stat, counted from the one after the name of the program.
_USER_TICKS, _SYSTEM_TICKS, _THREADS = 11, 12, 17


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Threads of a process, and the processor time that it has used, in ticks of the clock."""

    threads: int
    ticks: int


@dataclass(frozen=True, slots=True)
class FolderUsage:
    """Bytes on the disk by inode, and how many files and folders there are, below a folder."""

    sizes: Mapping[int, int]
    files: int

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(self.sizes.values())


class HiddenFolders(Exception):
    """Folders are nested too deep to be looked into, or do not allow it."""


@dataclass(frozen=True, slots=True)
class UnlinkedUsage:
    """Bytes of open files without a name: removed from the disk of the folder, or in memory (memfd)."""

    on_disk: int
    in_memory: int


def resident_bytes(pid: int) -> int:
    """Memory that a process has at present; 0 once it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def unlinked_usage(pid: int, folder: Path) -> UnlinkedUsage:
    """Sizes of the files that a process has open and that have no name."""
    on_disk = in_memory = 0
    try:
        device = folder.stat().st_dev
        for entry in os.scandir(f"/proc/{pid}/fd"):
            found = entry.stat()
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                size = found.st_blocks * _BLOCK_BYTES
                on_disk += size if found.st_dev == device else 0
                in_memory += size if found.st_dev != device else 0
    except OSError:  # it is gone
        pass
    return UnlinkedUsage(on_disk, in_memory)


def process_usage(pid: int) -> ProcessUsage | None:
    """Threads and processor time of a process; None: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessUsage(int(fields[_THREADS]), int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS]))


def deleted_mappings(pid: int, device: int) -> set[int]:
    """Inodes of removed files of a device that a process has mapped: without a name or a descriptor they keep room."""
    found = set()
    try:
        with Path(f"/proc/{pid}/maps").open(errors="replace") as maps:
            for line in maps:
                _, _, _, of_device, inode, *name = line.split(maxsplit=5)
                major, _, minor = of_device.partition(":")
                if name and name[0].endswith("(deleted)\n") and os.makedev(int(major, 16), int(minor, 16)) == device:
                    found.add(int(inode))
    except OSError:  # it is gone
        pass
    return found


def folder_usage(folder: Path, most_files: int) -> FolderUsage:
    """Measure a folder, which may change meanwhile. Stops at `most_files` files.

    Raises `HiddenFolders` where folders hide what is in them.
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
