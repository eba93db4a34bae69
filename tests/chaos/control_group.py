"""A control group of the kernel with little memory, for processes that are to run out of it."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
# The root of a hierarchy, and the file of a group in it that limits the memory: of version 1 and of version 2.
_HIERARCHIES = ((_ROOT / "memory", "memory.limit_in_bytes"), (_ROOT, "memory.max"))


class ControlGroup:
    """A group of processes that the kernel kills when they take more memory together than allowed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take_in(self, pid: int) -> None:
        """Move a process into the group; it may be gone already."""
        try:
            (self.folder / "cgroup.procs").write_text(str(pid))
        except ProcessLookupError:
            return


def can_limit_memory() -> bool:
    """Whether groups can be made here, and have a limit of their memory."""
    try:
        with little_memory(2**30):
            return True
    except OSError:
        return False


@contextmanager
def little_memory(limit_bytes: int) -> Iterator[ControlGroup]:
    """A new group with this limit. Raises OSError where the kernel or the container allows none."""
    root, limit = next((found for found in _HIERARCHIES if (found[0] / "cgroup.procs").exists()), _HIERARCHIES[0])
    folder = root / f"nern-chaos-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        (folder / limit).write_text(str(limit_bytes))
        yield ControlGroup(folder)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the group as soon as the last process of it is gone."""
    for _ in range(50):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return
