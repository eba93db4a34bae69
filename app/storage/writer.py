"""Artifacts that are being written: files in a folder on this machine's disk."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from app.kit.durable_files import LockFile, full_disk_told, is_locked, make_folder, older, require_room
from app.storage.artifacts import StoredArtifact, StoreUnavailable

# Bytes between checks of the free space; the form parser writes many small pieces.
_BYTES_BETWEEN_LOOKS = 2**20


class Adopt(Protocol):
    """Moves a file with this digest to its place."""

    def __call__(self, path: Path, sha256: str) -> None:
        """Move the file."""


class ArtifactWriter:
    """Writes and hashes the bytes of one new artifact. Created by `ArtifactStore.writer`."""

    def __init__(self, staging: "Staging", adopt: Adopt, reserve: int) -> None:
        self._staging = staging
        self._adopt = adopt
        self._reserve = reserve
        with full_disk_told(staging.folder):
            descriptor, name = tempfile.mkstemp(dir=staging.incoming)
        # The lock shows the collector that the file is still being written.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.path = Path(name)
        self._file = os.fdopen(descriptor, "wb")
        self._hash = hashlib.sha256()
        self.size = 0
        self._next_look = 0

    @property
    def sha256(self) -> str:
        """Digest of the bytes written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes. Raises `DiskFull`."""
        if self.size + len(data) >= self._next_look:
            require_room(self._staging.folder, len(data), self._reserve)
            self._next_look = self.size + len(data) + _BYTES_BETWEEN_LOOKS
        with full_disk_told(self._staging.folder):
            self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def flush(self) -> Path:
        """Make all written bytes readable at the temporary path, and return it."""
        with full_disk_told(self._staging.folder):
            self._file.flush()
        return self.path

    def commit(self) -> StoredArtifact:
        """Move the artifact to its place, durably. Raises `DiskFull` and `StoreUnavailable`."""
        stored = StoredArtifact(self.sha256, self.size)
        self.flush()
        self._adopt(self.path, stored.sha256)
        self._file.close()
        return stored

    def discard(self) -> None:
        """Remove the file unless it was committed."""
        with suppress(OSError):  # bytes that did not fit on the disk are not needed
            self._file.close()
        self.path.unlink(missing_ok=True)


class Staging:
    """Folder for files that are being written. `folder` may hold more; its `lock` protects moves of files in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.incoming = folder / "incoming"
        make_folder(self.incoming)
        self.lock = LockFile(folder / "lock")

    @contextmanager
    def writer(self, adopt: Adopt, expected: int, reserve: int) -> Iterator[ArtifactWriter]:
        """Create a writer. On commit, `adopt` takes its file; otherwise nothing remains."""
        self._make_incoming()
        require_room(self.folder, expected, reserve)
        writer = ArtifactWriter(self, adopt, reserve)
        try:
            yield writer
        finally:
            writer.discard()

    def _make_incoming(self) -> None:
        """Make the folder again if somebody has removed it. Raises `StoreUnavailable`.

        Not the one that it is in: that may be a disk that is not mounted.
        """
        try:
            self.incoming.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise StoreUnavailable(f"there is no folder {self.folder}") from error

    def moment(self, ago: timedelta) -> float:
        """Return the time `ago` before now, by the clock that sets file times."""
        return self.lock.now() - ago.total_seconds()

    def remove_abandoned(self, grace: timedelta) -> int:
        """Remove temporary files older than `grace` that nobody writes any more; return their number."""
        since = self.moment(grace)
        abandoned = [path for path in self.incoming.iterdir() if older(path, since) and not is_locked(path)]
        for path in abandoned:
            path.unlink(missing_ok=True)
        return len(abandoned)
