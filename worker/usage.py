"""What a runner uses: memory, threads and processor time of its process, and room on the disk.

All of it is read from outside, by /proc and the file system, so that a runner cannot hide it.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_BLOCK_BYTES = 512
# Fields of /proc/PID/stat, counted from the one after the name of the program.
_USER_TICKS, _SYSTEM_TICKS, _THREADS = 11, 12, 17


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Threads of a process, and the processor time that it has used, in ticks of the clock."""

    threads: int
    ticks: int


@dataclass(frozen=True, slots=True)
class FolderUsage:
    """Bytes on the disk, and files and folders, below a folder."""

    size: int
    files: int


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


def folder_usage(folder: Path, most_files: int) -> FolderUsage:
    """What lies below a folder, which may change meanwhile. Stops counting beyond so many files."""
    size = files = 0
    waiting = [os.fspath(folder)]
    while waiting and files <= most_files:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    if files > most_files:
                        break
        except OSError:  # removed while it was counted
            continue
    return FolderUsage(size, files)
