"""Check that a running child stays within its limits and shows activity."""

from pathlib import Path

from worker.child import Child
from worker.limits import Limits
from worker.outcome import FROZEN, Failed, Killed, limit_exceeded
from worker.timing import Timing
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

# Two checks are further apart only if the supervisor itself could not run.
_LONGEST_BETWEEN_CHECKS = 2.0


class Watchdog:
    """Watchdog of one child, created when it starts.

    Memory and time are checked at each call, the rest at each full check, about every second.
    """

    def __init__(self, child: Child, folder: Path, limits: Limits, timing: Timing) -> None:
        self._child = child
        self._folder = folder
        self._limits = limits
        self._timing = timing
        self._started = self._last = timing.now()
        self._next_full_check = self._started
        # Files from the supervisor do not count for the child.
        try:
            self._given = folder_usage(folder, limits.files)
        except HiddenFolders:
            # The child was faster; the first check ends it.
            self._given = FolderUsage({}, 0)
        self._device = folder.stat().st_dev
        self._sizes: dict[int, int] = {}
        self._unlinked = UnlinkedUsage(0, 0)
        self._activity: tuple[int, int] = (0, 0)
        self._seconds_of_silence = 0.0

    def check(self) -> Failed | Killed | None:
        """Return the reason why the child must stop, or None."""
        now = self._timing.now()
        if now >= self._next_full_check:
            self._next_full_check = now + self._timing.between_full_checks
            found = self._check_everything(now)
            if found is not None:
                return found
        return self._limits.exceeded(memory_bytes(self._child.pid) + self._unlinked.in_memory, now - self._started)

    def _check_everything(self, now: float) -> Failed | Killed | None:
        self._unlinked = unlinked_usage(self._child.pid, self._folder)
        usage = process_usage(self._child.pid)
        if usage is None:
            return None
        if usage.threads > self._limits.threads:
            return limit_exceeded(f"{self._limits.threads:,} threads")
        try:
            found = folder_usage(self._folder, self._given.files + self._limits.files)
        except HiddenFolders:
            return limit_exceeded("levels of folders")
        if found.files > self._given.files + self._limits.files:
            return limit_exceeded(f"{self._limits.files:,} files")
        if (
            found.size + self._unlinked.on_disk + self._mapped_bytes(found)
            > self._given.size + self._limits.folder_bytes
        ):
            return limit_exceeded(f"{self._limits.folder_bytes:,} bytes of the disk")
        return self._silence(now, usage.ticks)

    def _mapped_bytes(self, found: FolderUsage) -> int:
        """Return the bytes of deleted files that are only mapped. A file never seen before counts with the limit."""
        mapped = deleted_mappings(self._child.pid, self._device) - found.sizes.keys()
        self._sizes = {inode: size for inode, size in self._sizes.items() if inode in mapped} | dict(found.sizes)
        return sum(self._sizes.get(inode, self._limits.file_bytes) for inode in mapped)

    def _silence(self, now: float, ticks: int) -> Killed | None:
        """Return `Killed` for a child that has neither computed nor printed anything for a while; it hangs."""
        activity = (ticks, self._child.lines.count)
        # If the supervisor was frozen too, the time between does not count.
        passed = min(now - self._last, _LONGEST_BETWEEN_CHECKS)
        self._last = now
        self._seconds_of_silence = 0.0 if activity != self._activity else self._seconds_of_silence + passed
        self._activity = activity
        return Killed(FROZEN) if self._seconds_of_silence > self._limits.silence_seconds else None
