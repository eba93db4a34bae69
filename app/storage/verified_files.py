"""Checks that files match their digests, without reading them each time."""

import hashlib
import os
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from cachetools import TTLCache

_SECONDS_TO_TRUST = 3600.0
_MOST_REMEMBERED = 10_000


class Verifications:
    """Remembers the state in which a file was last verified, for an hour, because disks can lose data later.

    The state must change whenever the bytes do.
    """

    def __init__(self) -> None:
        self._states: TTLCache[Hashable, Hashable] = TTLCache(_MOST_REMEMBERED, _SECONDS_TO_TRUST)
        self._lock = Lock()

    def knows(self, thing: Hashable, state: Hashable) -> bool:
        """Return whether `thing` was verified in this state within the last hour."""
        with self._lock:
            return self._states.get(thing) == state

    def note(self, thing: Hashable, state: Hashable) -> None:
        """Record that `thing` was verified in this state."""
        with self._lock:
            self._states[thing] = state


@dataclass(frozen=True, slots=True)
class _State:
    """Metadata that changes whenever a file does."""

    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, stat: os.stat_result) -> "_State":
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class VerifiedFiles:
    """Verifies files, and reads them only if they changed or were last read over an hour ago."""

    def __init__(self) -> None:
        self._verifications = Verifications()

    def holds(self, path: Path, sha256: str, size: int) -> bool:
        """Return whether the file has this size and digest. Raises `FileNotFoundError`."""
        with path.open("rb") as file:
            state = _State.of(os.fstat(file.fileno()))
            if state.size != size:
                return False
            if self._verifications.knows(path, state):
                return True
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return False
        self._verifications.note(path, state)
        return True
