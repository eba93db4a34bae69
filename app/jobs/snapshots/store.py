"""Snapshots of running jobs, from which another worker resumes a job; kept where all workers can reach them.

Unlike artifacts, they are private to their job, so they are removed as soon as newer ones replace them. The job's row
names the valid ones; a file that no row names is garbage.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol

from app.jobs.ids import is_job_id
from app.kit.durable_files import flush_folder, make_folder
from app.settings import Settings
from app.storage import StoredArtifact, copy_hashed

_NAME = re.compile(r"[a-z]+-[0-9]{1,4}")


class SnapshotStore(Protocol):
    """Keeps the snapshots of jobs, by name and digest."""

    def keep(self, job_id: str, name: str, source: BinaryIO) -> StoredArtifact:
        """Copy a snapshot into the store; it is durable when this returns. Raises `OSError`."""

    def fetch(self, job_id: str, name: str, stored: StoredArtifact, target: Path) -> bool:
        """Copy a snapshot out of the store. Returns False, and leaves no file, if it is missing or damaged."""

    def remove(self, job_id: str, snapshots: Iterable[tuple[str, StoredArtifact]]) -> None:
        """Remove these snapshots of a job, as far as they exist."""

    def forget(self, job_id: str) -> None:
        """Remove all snapshots of a job."""

    def jobs(self) -> list[str]:
        """Return the ids of jobs that have snapshots here."""


def open_snapshots(settings: Settings) -> SnapshotStore:
    """Open the snapshot store that belongs to the artifact store."""
    if not settings.artifact_store:
        return SnapshotFolder(settings.snapshots)
    from app.jobs.snapshots.bucket import SnapshotBucket
    from app.storage.s3.bucket import Bucket
    from app.storage.s3.location import Location

    return SnapshotBucket(Bucket(Location.of(settings)))


class SnapshotFolder:
    """A folder with one folder for each job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, job_id: str, name: str, source: BinaryIO) -> StoredArtifact:
        """Copy a snapshot into the store; it is on the disk when this returns."""
        folder = self._of(job_id)
        make_folder(folder)
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix="incoming-")
        try:
            with os.fdopen(descriptor, "wb") as target:
                stored = copy_hashed(source, target)
                target.flush()
                os.fsync(target.fileno())
            Path(temporary).replace(folder / file_name(name, stored))
        finally:
            Path(temporary).unlink(missing_ok=True)
        flush_folder(folder)
        return stored

    def fetch(self, job_id: str, name: str, stored: StoredArtifact, target: Path) -> bool:
        """Copy a snapshot out of the store. Returns False, and leaves no file, if it is missing or damaged."""
        try:
            with (self._of(job_id) / file_name(name, stored)).open("rb") as file, target.open("wb") as copy:
                found = copy_hashed(file, copy)
        except FileNotFoundError:
            return False
        if found != stored:
            target.unlink()
        return found == stored

    def remove(self, job_id: str, snapshots: Iterable[tuple[str, StoredArtifact]]) -> None:
        """Remove these snapshots of a job, as far as they exist."""
        for name, stored in snapshots:
            (self._of(job_id) / file_name(name, stored)).unlink(missing_ok=True)

    def forget(self, job_id: str) -> None:
        """Remove all snapshots of a job."""
        shutil.rmtree(self._of(job_id), ignore_errors=True)

    def jobs(self) -> list[str]:
        """Return the ids of jobs that have snapshots here."""
        return sorted(path.name for path in self._folder.glob("job_*"))

    def _of(self, job_id: str) -> Path:
        require_job_id(job_id)
        return self._folder / job_id


def require_job_id(job_id: str) -> None:
    """Raise `ValueError` unless the text is a job id."""
    if not is_job_id(job_id):
        raise ValueError(f"not the id of a job: {job_id!r}")


def is_snapshot_name(name: str) -> bool:
    """Return whether the text is a valid snapshot name."""
    return _NAME.fullmatch(name) is not None


def file_name(name: str, stored: StoredArtifact) -> str:
    """Return the file name of a snapshot within its job. Raises `ValueError` for an invalid name."""
    if not is_snapshot_name(name):
        raise ValueError(f"not the name of a snapshot: {name!r}")
    return f"{name}.{stored.sha256}"
