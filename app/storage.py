"""The artifact store: files named by their SHA-256 in a local folder.

A file is written under a temporary name, flushed to the disk, and renamed: what stands under a digest is
whole. What is stored again replaces the old copy, which heals a damaged one. No part of a path ever comes
from a client.

A file's modification time is that of its last use: storing or `renew`ing it. `remove_unused` takes only
what has not been used for a while, under a lock that keeps it apart from those two.
"""

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Self

from app.durable_files import LockFile, flush_folder, full_disk_told, is_locked, make_folder, older, require_room
from app.integrity import VerifiedFiles

_DIGEST = re.compile(r"[0-9a-f]{64}")
_COPY_BYTES = 2**20
_READ_ONLY = 0o444
# The parser of a form hands over many small pieces.
_BYTES_BETWEEN_LOOKS = 2**20


class ArtifactMissing(Exception):
    """There is no artifact of this digest."""


class ArtifactDamaged(Exception):
    """What is stored under this digest is something else."""


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """A file in the store."""

    sha256: str
    size: int

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """The file that a row describes."""
        return cls(described["sha256"], described["bytes"])

    def described(self) -> dict[str, str | int]:
        """Size and digest, as rows hold them."""
        return {"bytes": self.size, "sha256": self.sha256}


def copy_hashed(source: BinaryIO, target: BinaryIO) -> StoredArtifact:
    """Copy to the end; returns what was copied."""
    digest, size = hashlib.sha256(), 0
    while data := source.read(_COPY_BYTES):
        target.write(data)
        digest.update(data)
        size += len(data)
    return StoredArtifact(digest.hexdigest(), size)


class ArtifactWriter:
    """Takes the bytes of one new artifact and hashes them on the way. Made by `ArtifactStore.writer`."""

    def __init__(self, store: "ArtifactStore", reserve: int) -> None:
        self._store = store
        self._reserve = reserve
        with full_disk_told(store.folder):
            descriptor, name = tempfile.mkstemp(dir=store.incoming)
        # Whoever tidies up sees by the lock that somebody still writes.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.path = Path(name)
        self._file = os.fdopen(descriptor, "wb")
        self._hash = hashlib.sha256()
        self.size = 0
        self._next_look = 0

    @property
    def sha256(self) -> str:
        """Digest of what has been written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes. Raises `DiskFull`."""
        if self.size + len(data) >= self._next_look:
            require_room(self._store.folder, len(data), self._reserve)
            self._next_look = self.size + len(data) + _BYTES_BETWEEN_LOOKS
        with full_disk_told(self._store.folder):
            self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def flush(self) -> Path:
        """Make everything written so far readable under the temporary path, which is returned."""
        with full_disk_told(self._store.folder):
            self._file.flush()
        return self.path

    def commit(self) -> StoredArtifact:
        """Put the artifact in its place, on the disk before this returns. Raises `DiskFull`."""
        stored = StoredArtifact(self.sha256, self.size)
        self.flush()
        self._store.adopt(self.path, stored.sha256)
        self._file.close()
        return stored

    def discard(self) -> None:
        """Remove what is not committed."""
        with suppress(OSError):  # what did not fit on the disk is not missed
            self._file.close()
        self.path.unlink(missing_ok=True)


class ArtifactStore:
    """A content-addressed store in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.incoming = folder / "incoming"
        make_folder(self.incoming)
        self._lock = LockFile(folder / "lock")
        self._verified = VerifiedFiles()

    @contextmanager
    def writer(self, expected: int = 0, reserve: int = 0) -> Iterator[ArtifactWriter]:
        """Write a new artifact; without `commit` nothing remains of it.

        Raises `DiskFull` if the `expected` bytes, or those that come, do not leave the reserve free.
        """
        require_room(self.folder, expected, reserve)
        writer = ArtifactWriter(self, reserve)
        try:
            yield writer
        finally:
            writer.discard()

    def put(self, source: Path) -> StoredArtifact:
        """Copy a file into the store. Raises `DiskFull`."""
        with self.writer() as writer, source.open("rb") as file:
            while data := file.read(_COPY_BYTES):
                writer.write(data)
            return writer.commit()

    def adopt(self, path: Path, sha256: str) -> None:
        """Move a file of this digest from the store's own disk to its place, flushed before and after."""
        target = self.path(sha256)
        with full_disk_told(self.folder):
            with path.open("rb") as file:
                os.fchmod(file.fileno(), _READ_ONLY)
                os.utime(file.fileno())
                os.fsync(file.fileno())
            target.parent.mkdir(exist_ok=True)
            with self._lock.shared():
                path.replace(target)
            # The folder may be new, and whoever made it may not have come to this line yet.
            for folder in (target.parent, self.folder):
                flush_folder(folder)

    def path(self, sha256: str) -> Path:
        """Where the artifact of this digest is. Raises `ValueError` for what is not a digest."""
        if not _DIGEST.fullmatch(sha256):
            raise ValueError(f"not a SHA-256 digest: {sha256!r}")
        return self.folder / sha256[:2] / sha256

    def verified(self, artifact: StoredArtifact) -> Path:
        """Where the artifact is, whose bytes have been checked.

        They are read once an hour, and again whenever the file has changed. Raises `ArtifactMissing`,
        `ArtifactDamaged`.
        """
        path = self.path(artifact.sha256)
        try:
            if not self._verified.holds(path, artifact.sha256, artifact.size):
                raise ArtifactDamaged(artifact.sha256)
        except FileNotFoundError as error:
            raise ArtifactMissing(artifact.sha256) from error
        return path

    def copy(self, sha256: str, target: Path) -> None:
        """Write a copy of the artifact to `target`, which its owner may change without harm to the store.

        Raises `ArtifactMissing`, `ArtifactDamaged`.
        """
        try:
            with self.path(sha256).open("rb") as file, target.open("wb") as copy:
                found = copy_hashed(file, copy)
        except FileNotFoundError as error:
            raise ArtifactMissing(sha256) from error
        if found.sha256 != sha256:
            target.unlink()
            raise ArtifactDamaged(sha256)

    def renew(self, sha256: str) -> None:
        """Keep the artifact from being removed for a while. Call it in the transaction that begins to use it.

        Raises `ArtifactMissing`.
        """
        try:
            with self._lock.shared():
                os.utime(self.path(sha256))
        except FileNotFoundError as error:
            raise ArtifactMissing(sha256) from error

    def moment(self, ago: timedelta) -> float:
        """A moment that lies so far back, by the clock that files are stamped with."""
        return self._lock.now() - ago.total_seconds()

    def unused_since(self, moment: float) -> Iterator[list[str]]:
        """Digests of what has neither been stored nor renewed since then, some at a time."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            found = [path.name for path in folder.iterdir() if _DIGEST.fullmatch(path.name) and older(path, moment)]
            if found:
                yield found

    def remove_unused(self, sha256: str, since: float) -> bool:
        """Remove the artifact, unless it has been stored or renewed since then; returns whether it was removed."""
        path = self.path(sha256)
        with self._lock.exclusive():
            if not older(path, since):
                return False
            path.unlink()
        return True

    def remove_abandoned(self, since: float) -> int:
        """Remove temporary files that are older and that nobody writes any more; returns how many."""
        abandoned = [path for path in self.incoming.iterdir() if older(path, since) and not is_locked(path)]
        for path in abandoned:
            path.unlink(missing_ok=True)
        return len(abandoned)

    def check(self) -> None:
        """Raise `OSError` if nothing can be written."""
        with self.writer():
            pass
