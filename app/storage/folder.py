"""Artifact store in a local folder.

A file is written under a temporary name, flushed to the disk, and renamed, so a file under a digest is always complete.
Storing a file again replaces the old copy, which repairs a damaged one. No part of a path comes from a client.

A file's modification time is the time of its last use. A lock separates `remove_unused` from storing and renewing.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from app.kit.durable_files import flush_folder, full_disk_told, older, require_room
from app.storage.artifacts import (
    ArtifactDamaged,
    ArtifactMissing,
    StoredArtifact,
    copy_hashed,
    is_digest,
    require_digest,
)
from app.storage.verified_files import VerifiedFiles
from app.storage.writer import ArtifactWriter, Staging

_COPY_BYTES = 2**20
_SENT_BYTES = 2**18
_READ_ONLY = 0o444


class FolderStore:
    """An `ArtifactStore` in one folder."""

    is_remote = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._staging = Staging(folder)
        self._verified = VerifiedFiles()

    @property
    def incoming(self) -> Path:
        """Folder of files that are still being written."""
        return self._staging.incoming

    def writer(self, expected: int = 0, reserve: int = 0) -> AbstractContextManager[ArtifactWriter]:
        """Create a writer; see `ArtifactStore.writer`."""
        return self._staging.writer(self.adopt, expected, reserve)

    def require_room(self, size: int, reserve: int) -> None:
        """Raise `DiskFull` unless `size` more bytes leave the reserve free."""
        require_room(self.folder, size, reserve)

    def put(self, source: Path) -> StoredArtifact:
        """Copy a file into the store. Raises `DiskFull`."""
        with self.writer() as writer, source.open("rb") as file:
            while data := file.read(_COPY_BYTES):
                writer.write(data)
            return writer.commit()

    def adopt(self, path: Path, sha256: str) -> None:
        """Move a file with this digest from the store's own disk to its place, durably."""
        target = self.path(sha256)
        with full_disk_told(self.folder):
            with path.open("rb") as file:
                os.fchmod(file.fileno(), _READ_ONLY)
                os.utime(file.fileno())
                os.fsync(file.fileno())
            target.parent.mkdir(exist_ok=True)
            with self._staging.lock.shared():
                path.replace(target)
            # The folder may be new, and its creator may not have reached this line yet.
            for folder in (target.parent, self.folder):
                flush_folder(folder)

    def path(self, sha256: str) -> Path:
        """Return the path of the artifact with this digest. Raises `ValueError` for an invalid digest."""
        require_digest(sha256)
        return self.folder / sha256[:2] / sha256

    def open(self, sha256: str) -> BinaryIO:
        """Open the artifact without verifying it. Raises `ArtifactMissing`."""
        try:
            return self.path(sha256).open("rb")
        except FileNotFoundError as error:
            raise ArtifactMissing(sha256) from error

    def verified(self, artifact: StoredArtifact) -> Path:
        """Return the path of the artifact after verifying its bytes.

        They are read once an hour, and whenever the file has changed. Raises `ArtifactMissing`, `ArtifactDamaged`.
        """
        path = self.path(artifact.sha256)
        try:
            if not self._verified.holds(path, artifact.sha256, artifact.size):
                raise ArtifactDamaged(artifact.sha256)
        except FileNotFoundError as error:
            raise ArtifactMissing(artifact.sha256) from error
        return path

    def require(self, artifact: StoredArtifact) -> None:
        """Raise `ArtifactMissing` or `ArtifactDamaged` unless the artifact is intact."""
        self.verified(artifact)

    def read(self, artifact: StoredArtifact, part: range) -> Iterator[bytes]:
        """Iterate over the bytes of a part. Raises `ArtifactMissing` or `ArtifactDamaged` unless the file is intact."""
        return _read(self.verified(artifact), part)

    def address(self, artifact: StoredArtifact, media_type: str, disposition: str) -> None:
        """Return None: clients cannot fetch files of this machine directly."""

    def copy(self, sha256: str, target: Path) -> None:
        """Write a copy of the artifact to `target`. Raises `ArtifactMissing`, `ArtifactDamaged`."""
        try:
            with self.path(sha256).open("rb") as file, target.open("wb") as copy:
                found = copy_hashed(file, copy)
        except FileNotFoundError as error:
            raise ArtifactMissing(sha256) from error
        if found.sha256 != sha256:
            target.unlink()
            raise ArtifactDamaged(sha256)

    def renew(self, sha256: str) -> None:
        """Protect the artifact from removal for the grace time. Raises `ArtifactMissing`."""
        try:
            with self._staging.lock.shared():
                os.utime(self.path(sha256))
        except FileNotFoundError as error:
            raise ArtifactMissing(sha256) from error

    def moment(self, ago: timedelta) -> float:
        """Return the time `ago` before now, by the clock that sets file times."""
        return self._staging.moment(ago)

    def unused_since(self, moment: float) -> Iterator[list[str]]:
        """Iterate over batches of digests that were neither stored nor renewed since then."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            found = [path.name for path in folder.iterdir() if is_digest(path.name) and older(path, moment)]
            if found:
                yield found

    def remove_unused(self, sha256: str, since: float) -> bool:
        """Remove the artifact unless it was stored or renewed since then; return whether it was removed."""
        path = self.path(sha256)
        with self._staging.lock.exclusive():
            if not older(path, since):
                return False
            path.unlink()
        return True

    def remove_abandoned(self, grace: timedelta) -> int:
        """Remove temporary files older than `grace` that nobody writes any more; return their number."""
        return self._staging.remove_abandoned(grace)

    def check(self) -> None:
        """Raise `OSError` if the store is not writable."""
        with self.writer():
            pass


def _read(path: Path, part: range) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(part.start)
        left = len(part)
        while data := file.read(min(_SENT_BYTES, left)):
            yield data
            left -= len(data)
