"""The artifact store: files named by their SHA-256 in a local folder.

A file is written under a temporary name, flushed to the disk, and renamed: what stands under a digest
is whole. No part of a path ever comes from a client.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{64}")
_COPY_BYTES = 2**20
_READ_ONLY = 0o444


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """A file in the store."""

    sha256: str
    size: int


class ArtifactWriter:
    """Takes the bytes of one new artifact and hashes them on the way. Made by `ArtifactStore.writer`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        descriptor, name = tempfile.mkstemp(dir=folder / "incoming")
        self.path = Path(name)
        self._file = os.fdopen(descriptor, "wb")
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def flush(self) -> Path:
        """Make everything written so far readable under the temporary path, which is returned."""
        self._file.flush()
        return self.path

    def commit(self) -> StoredArtifact:
        """Put the artifact in its place, on the disk before this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        stored = StoredArtifact(self._hash.hexdigest(), self.size)
        target = self._folder / stored.sha256[:2] / stored.sha256
        target.parent.mkdir(exist_ok=True)
        self.path.chmod(_READ_ONLY)
        self.path.replace(target)
        for folder in (target.parent, self._folder):
            flush_folder(folder)
        return stored

    def discard(self) -> None:
        """Remove what is not committed."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class ArtifactStore:
    """A content-addressed store in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "incoming").mkdir(parents=True, exist_ok=True)

    @contextmanager
    def writer(self) -> Iterator[ArtifactWriter]:
        """Write a new artifact; without `commit` nothing remains of it."""
        writer = ArtifactWriter(self.folder)
        try:
            yield writer
        finally:
            writer.discard()

    def put(self, source: Path) -> StoredArtifact:
        """Copy a file into the store."""
        with self.writer() as writer, source.open("rb") as file:
            while data := file.read(_COPY_BYTES):
                writer.write(data)
            return writer.commit()

    def path(self, sha256: str) -> Path:
        """Where the artifact of this digest is. Raises `ValueError` for what is not a digest."""
        if not _DIGEST.fullmatch(sha256):
            raise ValueError(f"not a SHA-256 digest: {sha256!r}")
        return self.folder / sha256[:2] / sha256

    def link(self, sha256: str, target: Path) -> None:
        """Make the artifact appear at `target`: as a hard link, or a copy on another file system."""
        try:
            os.link(self.path(sha256), target)
        except OSError:
            shutil.copyfile(self.path(sha256), target)

    def check(self) -> None:
        """Raise `OSError` if nothing can be written."""
        with self.writer():
            pass


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
