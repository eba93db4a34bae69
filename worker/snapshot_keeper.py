"""Store the snapshots of a runner, and hand them to the runner of the next attempt.

The runner is not trusted. However often it announces snapshots and whatever it does to their files meanwhile, they are
copied at a limited pace, and the job is checked during each copy.
"""

import io
import os
from collections.abc import Callable, Iterable
from typing import BinaryIO

import structlog

from app.db.transactions import Sessions
from app.jobs.repository import JobRepository
from app.jobs.snapshots.store import SnapshotStore
from app.jobs.transitions import Claim
from app.storage import StoredArtifact, StoreUnavailable
from worker.folder import RunFolder, open_regular
from worker.timing import Timing

_log = structlog.get_logger()
_BLOCK_BYTES = 2**20


class SnapshotKeeper:
    """The snapshots of one attempt at a job, up to `most_bytes` in total.

    Within `pause` seconds, each is copied at most once, and all together up to `most_bytes`.
    """

    def __init__(
        self,
        store: SnapshotStore,
        sessions: Sessions,
        claim: Claim,
        folder: RunFolder,
        most_bytes: int,
        pause: float,
        timing: Timing,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._claim = claim
        self._folder = folder
        self._most_bytes = most_bytes
        self._pause = pause
        self._timing = timing
        self._kept: dict[str, StoredArtifact] = {}
        # What this attempt may remove: its own, and those that it was given. A later attempt may have others by now.
        self._known: set[tuple[str, StoredArtifact]] = set()
        self._waiting: set[str] = set()
        # Start and bytes of the last copy of each name, also of one that failed.
        self._copies: dict[str, tuple[float, int]] = {}
        self._warned: set[str] = set()

    def restore(self) -> None:
        """Copy the snapshots of earlier attempts into the folder of the run; skip damaged ones."""
        for name, described in self._claim.snapshots.items():
            stored = StoredArtifact.of(described)
            self._known.add((name, stored))
            if self._store.fetch(self._claim.job_id, name, stored, self._folder.snapshots / name):
                self._kept[name] = stored
            else:
                _log.warning("snapshot_unusable", job=self._claim.job_id, snapshot=name)

    def keep(self, names: Iterable[str], check: Callable[[], None], *, last: bool = False) -> None:
        """Store these snapshots, and those that waited, if the job is still held and they fit into the limit.

        One that was copied a moment ago waits for a later call, or for the `last` one, after the end of the runner.
        `check` is called for every mebibyte; its exception ends the copy and is raised here. Also raises
        `StoreUnavailable`, and SQLAlchemy's errors.
        """
        self._waiting.update(names)
        changed: dict[str, StoredArtifact] = {}
        for name in sorted(self._waiting if last else filter(self._is_due, self._waiting)):
            others = sum(stored.size for other, stored in (self._kept | changed).items() if other != name)
            try:
                with open_regular(self._folder.snapshots / name) as file:
                    size = os.fstat(file.fileno()).st_size
                    if others + size > self._most_bytes:
                        self._drop(name, "snapshot_too_large", bytes=size)
                        continue
                    if not last and self._bytes_copied_lately() + size > self._most_bytes:
                        break
                    self._copies[name] = (self._timing.now(), size)
                    checked = io.BufferedReader(_Checked(file, size, check), _BLOCK_BYTES)
                    changed[name] = self._store.keep(self._claim.job_id, name, checked)
                    self._known.add((name, changed[name]))
            except StoreUnavailable:
                # Each try takes long, and the runner soon announces newer ones.
                self._waiting.clear()
                raise
            except OSError as error:
                # A name that is no file must not cost the others their place.
                self._drop(name, "snapshot_not_kept", error=repr(error))
        if changed:
            self._record(changed)

    def _record(self, changed: dict[str, StoredArtifact]) -> None:
        """Name these snapshots in the job's row, and remove those that they replace."""
        kept = self._kept | changed
        described = {name: stored.described() for name, stored in kept.items()}
        with self._sessions.begin() as session:
            held = JobRepository(session).keep_snapshots(self._claim, described)
        self._waiting -= changed.keys()
        if held:
            self._kept = kept
            replaced = self._known - kept.items()
            self._store.remove(self._claim.job_id, replaced)
            self._known -= replaced

    def _is_due(self, name: str) -> bool:
        return name not in self._copies or self._timing.now() - self._copies[name][0] >= self._pause

    def _bytes_copied_lately(self) -> int:
        now = self._timing.now()
        return sum(size for started, size in self._copies.values() if now - started < self._pause)

    def _drop(self, name: str, event: str, **details: object) -> None:
        """Ignore a snapshot until it is announced again; say so once for each name."""
        self._waiting.discard(name)
        if name not in self._warned:
            self._warned.add(name)
            _log.warning(event, job=self._claim.job_id, snapshot=name, **details)


class _Checked(io.RawIOBase):
    """Raw file that calls `check` for every block, and ends at a size even if the file has grown since."""

    def __init__(self, file: BinaryIO, size: int, check: Callable[[], None]) -> None:
        self._file = file
        self._size = size
        self._check = check

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what BufferedReader passes
        """Read a block into the buffer."""
        self._check()
        data = self._file.read(min(len(buffer), _BLOCK_BYTES, self._size - self._file.tell()))
        buffer[: len(data)] = data
        return len(data)
