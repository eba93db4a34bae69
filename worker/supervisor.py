"""The supervisor: claims a job, watches the child that encodes it, and publishes what it leaves behind.

Whatever becomes of the job is one compare-and-set on its row, fenced by the attempt: a supervisor that
has lost its lease changes nothing any more.
"""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

from app.database import Sessions
from app.jobs.models import JobStatus
from app.jobs.repository import Claim, JobRepository
from app.settings import Settings
from app.storage import ArtifactStore
from nern_core.options import EncodeOptions
from worker.child import Child
from worker.folder import ErrorLine, RunFolder, RunnerReport, RunSpec

_log = structlog.get_logger()
_SECONDS_BETWEEN_HEARTBEATS = 1.0
_SECONDS_BETWEEN_LOOKS = 0.2
# Part of the lease after which a supervisor that cannot reach the database takes its job for lost.
_PATIENCE = 0.8


@dataclass(frozen=True, slots=True)
class Completed:
    """The child left its results."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The child ended without results."""

    error: ErrorLine


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody asked to cancel the job; the child is gone."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The worker was told to stop; the child is gone."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The job is no longer this supervisor's; the child is gone."""


Outcome = Completed | Failed | CancelRequested | Stopping | LeaseLost


class Supervisor:
    """Runs one job at a time. `stopping` tells whether the worker is to stop."""

    def __init__(
        self, settings: Settings, sessions: Sessions, store: ArtifactStore, stopping: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._stopping = stopping

    def run(self, job_id: str) -> None:
        """Run the job to an end, unless somebody else has it or it has ended."""
        with self._sessions.begin() as session:
            jobs = JobRepository(session)
            if self._stopping():
                # Celery still hands out what arrives while it shuts down.
                jobs.announce_again(job_id)
                return
            claim = jobs.claim(job_id, self._settings.lease)
        if claim is None:
            _log.info("job_not_queued", job=job_id)
            return
        _log.info("job_started", job=job_id, attempt=claim.attempt)
        with self._folder(claim) as folder:
            outcome = self._supervise(claim, folder)
            status = self._settle(claim, folder, outcome)
        _log.info("job_left", job=job_id, attempt=claim.attempt, status=status)

    @contextmanager
    def _folder(self, claim: Claim) -> Iterator[RunFolder]:
        """The attempt's own folder with the checkpoint and the spec; it is removed afterwards."""
        path = self._settings.scratch.resolve() / f"{claim.job_id}-{claim.attempt}"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        folder = RunFolder(path)
        try:
            self._store.copy(claim.checkpoint_sha256, folder.checkpoint)
            spec = RunSpec(options=EncodeOptions.model_validate(claim.options))
            folder.spec.write_text(spec.model_dump_json())
            yield folder
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _supervise(self, claim: Claim, folder: RunFolder) -> Outcome:
        child = Child(folder)
        try:
            lease = _Lease(self._settings.lease.total_seconds())
            while (status := child.wait(_SECONDS_BETWEEN_LOOKS)) is None:
                if self._stopping():
                    return Stopping()
                if lease.heartbeat_due:
                    found = self._heartbeat(claim, child, lease)
                    if found is not None:
                        return found
            return _ending(status, child.error)
        finally:
            child.kill()

    def _heartbeat(self, claim: Claim, child: Child, lease: "_Lease") -> CancelRequested | LeaseLost | None:
        """Extend the lease and write the progress; None: go on."""
        progress = child.progress
        try:
            with self._sessions.begin() as session:
                status = JobRepository(session).heartbeat(
                    claim,
                    self._settings.lease,
                    progress.phase.value if progress else None,
                    progress.model_dump(mode="json", exclude={"phase"}) if progress else None,
                )
        except DBAPIError as error:
            _log.warning("heartbeat_failed", job=claim.job_id, error=repr(error))
            lease.missed()
            return LeaseLost() if lease.in_danger else None
        lease.extended()
        if status is None:
            return LeaseLost()
        return CancelRequested() if status is JobStatus.CANCELING else None

    def _settle(self, claim: Claim, folder: RunFolder, outcome: Outcome) -> str:
        """Write what has become of the job; returns the status, or `lost` where it is somebody else's now."""
        if isinstance(outcome, LeaseLost):
            return "lost"
        artifacts, metrics = self._store_results(folder) if isinstance(outcome, Completed) else ({}, {})
        with self._sessions.begin() as session:
            jobs = JobRepository(session)
            if isinstance(outcome, Completed) and jobs.succeed(claim, metrics, artifacts):
                return JobStatus.SUCCEEDED
            if isinstance(outcome, Failed) and jobs.fail(claim, outcome.error.code, outcome.error.message):
                return JobStatus.FAILED
            if isinstance(outcome, Stopping) and jobs.release(claim):
                return JobStatus.QUEUED
            # Whatever else happened, a job that is being canceled ends as canceled.
            return JobStatus.CANCELED if jobs.confirm_cancel(claim) else "lost"

    def _store_results(self, folder: RunFolder) -> tuple[dict[str, Any], dict[str, Any]]:
        """Put the results into the store; returns the artifacts by name and the metrics."""
        stored = {name: self._store.put(folder.result(name)) for name in folder.results()}
        artifacts = {name: {"bytes": artifact.size, "sha256": artifact.sha256} for name, artifact in stored.items()}
        return artifacts, RunnerReport.model_validate_json(folder.report.read_bytes()).metrics.model_dump()


class _Lease:
    """When to send the next heartbeat, and whether the lease may have run out."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._extended = self._tried = time.monotonic()

    @property
    def heartbeat_due(self) -> bool:
        return time.monotonic() - self._tried >= _SECONDS_BETWEEN_HEARTBEATS

    @property
    def in_danger(self) -> bool:
        return time.monotonic() - self._extended >= _PATIENCE * self._seconds

    def extended(self) -> None:
        self._extended = self._tried = time.monotonic()

    def missed(self) -> None:
        self._tried = time.monotonic()


def _ending(status: int, error: ErrorLine | None) -> Completed | Failed:
    """What the end of a child means."""
    if status == 0:
        return Completed()
    if error is not None:
        return Failed(error)
    if status == -signal.SIGKILL:
        message = (
            "The encoding was killed, most likely because the worker ran out of memory; use a smaller "
            "`hidden_size` or a larger machine."
        )
        return Failed(ErrorLine(code="killed", message=message))
    message = f"The encoding ended unexpectedly with the status {status}; the worker's log says why."
    return Failed(ErrorLine(code="internal_error", message=message))
