"""Snapshots of running jobs in the bucket, where workers on all machines can reach them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from app.jobs.snapshots.store import file_name, require_job_id
from app.storage.artifacts import StoredArtifact, hashed
from app.storage.s3.bucket import Bucket
from app.storage.s3.objects import chunks, upload

_FOLDER = "snapshots"


class SnapshotBucket:
    """A `SnapshotStore`: objects below `snapshots/<job id>/`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def keep(self, job_id: str, name: str, source: BinaryIO) -> StoredArtifact:
        """Copy a snapshot into the bucket. Raises `StoreUnavailable`."""
        stored = hashed(source)
        source.seek(0)
        upload(self._bucket, _key(job_id, file_name(name, stored)), source, stored)
        return stored

    def fetch(self, job_id: str, name: str, stored: StoredArtifact, target: Path) -> bool:
        """Copy a snapshot out of the bucket. Returns False, and leaves no file, if it is missing or damaged."""
        found = self._bucket.find(_key(job_id, file_name(name, stored)))
        if found is None or found.size != stored.size:
            return False
        digest = hashlib.sha256()
        with target.open("wb") as copy:
            for data in chunks(self._bucket, found, stored.whole):
                digest.update(data)
                copy.write(data)
        if digest.hexdigest() == stored.sha256:
            return True
        target.unlink()
        return False

    def remove(self, job_id: str, snapshots: Iterable[tuple[str, StoredArtifact]]) -> None:
        """Remove these snapshots of a job, as far as they exist."""
        for name, stored in snapshots:
            self._bucket.delete(_key(job_id, file_name(name, stored)))

    def forget(self, job_id: str) -> None:
        """Remove all snapshots of a job."""
        for page in self._bucket.list(_key(job_id)):
            for found in page:
                self._bucket.delete(found.key)

    def jobs(self) -> list[str]:
        """Return the ids of jobs that have snapshots here."""
        return sorted({found.key.split("/")[1] for page in self._bucket.list(_FOLDER) for found in page})


def _key(job_id: str, *names: str) -> str:
    require_job_id(job_id)
    return "/".join((_FOLDER, job_id, *names))
