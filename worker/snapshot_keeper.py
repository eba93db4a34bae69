"""Store the snapshots of a runner, and hand them to the runner of the next attempt."""

import os
from collections.abc import Iterable

import structlog

from app.database import Sessions
from app.jobs.repository import JobRepository
from app.jobs.transitions import Claim
from app.snapshots import SnapshotStore
from app.storage import StoredArtifact
from worker.folder import RunFolder, open_regular

_log = structlog.get_logger()


class SnapshotKeeper:
    """The snapshots of one attempt at a job, up to `most_bytes` in total."""

    def __init__(
        self, store: SnapshotStore, sessions: Sessions, claim: Claim, folder: RunFolder, most_bytes: int
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._claim = claim
        self._folder = folder
        self._most_bytes = most_bytes
        self._kept: dict[str, StoredArtifact] = {}

    def hand_out(self) -> None:
        """Copy the snapshots of earlier attempts into the folder of the run; skip damaged ones."""
        for name, described in self._claim.snapshots.items():
            stored = StoredArtifact.of(described)
            if self._store.fetch(self._claim.job_id, name, stored, self._folder.snapshots / name):
                self._kept[name] = stored
            else:
                _log.warning("snapshot_unusable", job=self._claim.job_id, snapshot=name)

    def keep(self, names: Iterable[str]) -> None:
        """Store these snapshots if the job is still held and they fit into the limit.

        Raises `OSError`, and SQLAlchemy's errors.
        """
        changed: dict[str, StoredArtifact] = {}
        for name in sorted(names):
            with open_regular(self._folder.snapshots / name) as file:
                size = os.fstat(file.fileno()).st_size
                others = sum(stored.size for other, stored in (self._kept | changed).items() if other != name)
                if others + size > self._most_bytes:
                    _log.warning("snapshot_too_large", job=self._claim.job_id, snapshot=name, bytes=size)
                    continue
                changed[name] = self._store.keep(self._claim.job_id, name, file)
        if not changed:
            return
        kept = self._kept | changed
        described = {name: stored.described() for name, stored in kept.items()}
        with self._sessions.begin() as session:
            held = JobRepository(session).keep_snapshots(self._claim, described)
        if held:
            self._kept = kept
            self._store.keep_only(self._claim.job_id, kept)
