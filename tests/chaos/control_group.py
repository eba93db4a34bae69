"""A kernel control group with little memory, for processes that must run out of memory."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
# The root of the hierarchy and a group's file for the memory limit, in versions 1 and 2.
_HIERARCHIES = ((_ROOT / "memory", "memory.limit_in_bytes"), (_ROOT, "memory.max"))


class ControlGroup:
    """A group of processes that the kernel kills when their total memory exceeds the limit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take_in(self, pid: int) -> None:
        """Move a process into the group; it may have ended already."""
        try:
            (self.folder / "cgroup.procs").write_text(str(pid))
        except ProcessLookupError:
            return


def can_limit_memory() -> bool:
    """Return true if control groups with a memory limit can be created here."""
    try:
        with little_memory(2**30):
            return True
    except OSError:
        return False


@contextmanager
def little_memory(limit_bytes: int) -> Iterator[ControlGroup]:
    """Create a group with this limit. Raises `OSError` if the kernel or the container does not allow it."""
    root, limit = next((found for found in _HIERARCHIES if (found[0] / "cgroup.procs").exists()), _HIERARCHIES[0])
    folder = root / f"nern-chaos-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        (folder / limit).write_text(str(limit_bytes))
        yield ControlGroup(folder)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the group once its last process has ended."""
    for _ in range(50):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return
