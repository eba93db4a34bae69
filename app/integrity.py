"""Whether files still hold what their digests say, without reading them each time."""

import hashlib
import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

_SECONDS_TO_TRUST = 3600.0
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _State:
    """What changes whenever a file does."""

    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, stat: os.stat_result) -> "_State":
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class VerifiedFiles:
    """Remembers which files were found whole: for an hour, as disks forget too, and while they do not change."""

    def __init__(self) -> None:
        self._found: OrderedDict[Path, tuple[_State, float]] = OrderedDict()

    def holds(self, path: Path, sha256: str, size: int) -> bool:
        """Whether the file has this size and digest. Raises `FileNotFoundError`."""
        with path.open("rb") as file:
            state = _State.of(os.fstat(file.fileno()))
            if state.size != size:
                return False
            known, since = self._found.get(path, (None, 0.0))
            if known == state and time.monotonic() - since < _SECONDS_TO_TRUST:
                return True
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return False
        self._found[path] = (state, time.monotonic())
        while len(self._found) > _MOST_REMEMBERED:
            self._found.popitem(last=False)
        return True
