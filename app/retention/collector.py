"""Collector: removes expired data, unused files and leftovers.

It is a thread of every API process, and a lease lets one at a time work. The lease only saves work: every step is safe
beside other collectors, submissions and workers. A transaction that begins to use an artifact renews it. A round first
fixes a moment, the grace time ago, then reads the rows, and then removes only artifacts that were not renewed since
that moment. So it has seen every row that was committed within the grace time, and later rows have renewed their files.
"""

import re
import secrets
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from app.accounting.discards import DiscardRepository, Discards
from app.accounting.reservations import expire_reservations
from app.db.transactions import Sessions, transact
from app.jobs.accounts import ACCOUNTS
from app.jobs.idempotency import expire_keys
from app.jobs.repository import JobRepository
from app.jobs.snapshots.store import open_snapshots
from app.kit.durable_files import older
from app.retention.leases import LeaseRepository
from app.settings import Settings
from app.storage import ArtifactStore
from app.uploads.partial import PartialUploads
from app.uploads.repository import UploadRepository

_log = structlog.get_logger()
_LEASE = "collector"
_LEASE_DURATION = timedelta(minutes=10)
_JOBS_AT_ONCE = 500
_SECONDS_TO_STOP = 10.0
# Name of the folder of an attempt, as the supervisor sets it.
_SCRATCH = re.compile(r"(job_[0-9a-f]{32})-(\d{1,9})")


class Collector:
    """A background thread."""

    def __init__(self, settings: Settings, sessions: Sessions, store: ArtifactStore) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._discards = Discards(sessions, store, ACCOUNTS)
        self._snapshots = open_snapshots(settings)
        self._partial_uploads = PartialUploads(settings, sessions, store, ACCOUNTS)
        self._name = secrets.token_hex(16)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop at the next step."""
        self._stopping.set()
        self._thread.join(_SECONDS_TO_STOP)

    def round(self) -> bool:
        """Collect once. Returns False if another process is collecting."""
        if not self._lease():
            return False
        try:
            self._expire()
            self._discards.remove_all()
            self._remove_unused()
            self._store.remove_abandoned(self._settings.collect_grace)
            self._partial_uploads.collect(self._settings.collect_grace)
            self._remove_snapshots()
            self._remove_scratch()
        finally:
            transact(self._sessions, lambda session: LeaseRepository(session).release(_LEASE, self._name))
        return True

    def _lease(self) -> bool:
        return transact(
            self._sessions, lambda session: LeaseRepository(session).take(_LEASE, self._name, _LEASE_DURATION)
        )

    def _expire(self) -> None:
        def expire_rows(session: Session) -> None:
            expire_keys(session)
            expire_reservations(session)
            _discard(session, UploadRepository(session).expire())

        def expire_jobs(session: Session) -> int:
            expired = JobRepository(session).expire_data(self._settings.keep_results, _JOBS_AT_ONCE)
            _discard(session, expired.files)
            return expired.jobs

        transact(self._sessions, expire_rows)
        while transact(self._sessions, expire_jobs) == _JOBS_AT_ONCE:
            self._lease()

    def _remove_unused(self) -> None:
        since = self._store.moment(self._settings.collect_grace)
        for old in self._store.unused_since(since):
            if self._stopping.is_set() or not self._lease():
                return
            removed = [digest for digest in self._unused(old) if self._store.remove_unused(digest, since)]
            if removed:
                _log.info("artifacts_removed", digests=removed)

    def _remove_snapshots(self) -> None:
        """Remove the snapshots of jobs that ended while no worker had them."""
        found = self._snapshots.jobs()
        needed = transact(self._sessions, lambda session: JobRepository(session).not_ended(found))
        for job_id in found:
            if job_id not in needed:
                self._snapshots.forget(job_id)

    def _remove_scratch(self) -> None:
        """Remove the folders of attempts that no worker runs. An attempt that has ended never resumes."""
        grace = self._settings.collect_grace.total_seconds()
        for folder in _folders(self._settings.scratch):
            found = _SCRATCH.fullmatch(folder.name)
            if found is None or not older(folder, time.time() - grace):
                continue
            if not self._is_live(found[1], int(found[2])):
                shutil.rmtree(folder, ignore_errors=True)
                _log.info("scratch_removed", folder=folder.name)

    def _unused(self, digests: Sequence[str]) -> list[str]:
        """Return those of the artifacts that no job, upload or data set needs."""
        return sorted(set(digests) - transact(self._sessions, lambda session: ACCOUNTS.named(session, digests)))

    def _is_live(self, job_id: str, attempt: int) -> bool:
        return transact(self._sessions, lambda session: JobRepository(session).is_live(job_id, attempt))

    def _run(self) -> None:
        while not self._stopping.wait(self._settings.collect_interval.total_seconds()):
            try:
                self.round()
            except Exception as error:  # noqa: BLE001 # the thread must outlive every outage of database and disk
                _log.warning("collector_failed", error=repr(error))


def _discard(session: Session, files: Mapping[str, Mapping[str, int]]) -> None:
    for tenant, of_tenant in files.items():
        DiscardRepository(session, ACCOUNTS).add(tenant, of_tenant)


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
