"""Watch a running child: its usage must stay within the limits, and it must show activity."""

import time
from pathlib import Path

from worker.child import Child
from worker.limits import Limits
from worker.outcome import FROZEN, Failed, Killed, took_too_much
from worker.usage import (
    FolderUsage,
    HiddenFolders,
    UnlinkedUsage,
    deleted_mappings,
    folder_usage,
    memory_bytes,
    process_usage,
    unlinked_usage,
)

_SECONDS_BETWEEN_FULL_LOOKS = 1.0
# Two checks are further apart only if the supervisor itself could not run.
_LONGEST_BETWEEN_LOOKS = 2.0


class ChildWatch:
    """Watch of one child, created when it starts. Memory and time are checked at each call, the rest every second."""

    def __init__(self, child: Child, folder: Path, limits: Limits) -> None:
        self._child = child
        self._folder = folder
        self._limits = limits
        self._started = self._last = time.monotonic()
        self._next_full_look = 0.0
        # Files from the supervisor do not count for the child.
        self._given = folder_usage(folder, limits.files)
        self._device = folder.stat().st_dev
        self._sizes: dict[int, int] = {}
        self._unlinked = UnlinkedUsage(0, 0)
        self._signs: tuple[int, int] = (0, 0)
        self._seconds_of_silence = 0.0

    def objection(self) -> Failed | Killed | None:
        """Return the reason why the child must stop, or None."""
        now = time.monotonic()
        if now >= self._next_full_look:
            self._next_full_look = now + _SECONDS_BETWEEN_FULL_LOOKS
            found = self._look_at_all(now)
            if found is not None:
                return found
        return self._limits.exceeded(memory_bytes(self._child.pid) + self._unlinked.in_memory, now - self._started)

    def _look_at_all(self, now: float) -> Failed | Killed | None:
        self._unlinked = unlinked_usage(self._child.pid, self._folder)
        usage = process_usage(self._child.pid)
        if usage is None:
            return None
        if usage.threads > self._limits.threads:
            return took_too_much(f"{self._limits.threads:,} threads")
        try:
            found = folder_usage(self._folder, self._given.files + self._limits.files)
        except HiddenFolders:
            return took_too_much("levels of folders")
        if found.files > self._given.files + self._limits.files:
            return took_too_much(f"{self._limits.files:,} files")
        if (
            found.size + self._unlinked.on_disk + self._mapped_bytes(found)
            > self._given.size + self._limits.folder_bytes
        ):
            return took_too_much(f"{self._limits.folder_bytes:,} bytes of the disk")
        return self._silence(now, usage.ticks)

    def _mapped_bytes(self, found: FolderUsage) -> int:
        """Return the bytes of deleted files that are only mapped. A file never seen before counts with the limit."""
        mapped = deleted_mappings(self._child.pid, self._device) - found.sizes.keys()
        self._sizes = {inode: size for inode, size in self._sizes.items() if inode in mapped} | dict(found.sizes)
        return sum(self._sizes.get(inode, self._limits.file_bytes) for inode in mapped)

    def _silence(self, now: float, ticks: int) -> Killed | None:
        """Return `Killed` for a child that has neither computed nor printed anything for a while; it hangs."""
        signs = (ticks, self._child.lines.count)
        # If the supervisor was frozen too, the time between does not count.
        passed = min(now - self._last, _LONGEST_BETWEEN_LOOKS)
        self._last = now
        self._seconds_of_silence = 0.0 if signs != self._signs else self._seconds_of_silence + passed
        self._signs = signs
        return Killed(FROZEN) if self._seconds_of_silence > self._limits.silence_seconds else None
