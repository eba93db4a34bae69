"""The supervisor: claims a job, has a child do it, and publishes what the child leaves behind.

Whatever becomes of the job is one compare-and-set on its row, fenced by the attempt: a supervisor that
has lost its lease changes nothing any more.
"""

import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from app.database import Sessions
from app.jobs.kinds import JobKind
from app.jobs.models import TERMINAL, JobStatus
from app.jobs.repository import JobRepository
from app.jobs.transitions import Claim
from app.settings import Settings
from app.snapshots import open_snapshots
from app.storage import ArtifactDamaged, ArtifactMissing, ArtifactStore, StoredArtifact, StoreUnavailable
from app.tracing import SilentTracer, Tracer
from nern_core.metrics import Metrics
from nern_core.options import EncodeOptions
from worker.attempt_trace import AttemptTrace
from worker.caches import Caches
from worker.child import Child
from worker.folder import LONGEST_REPORT, RECONSTRUCTED, RunFolder, RunnerReport, RunSpec
from worker.heartbeat import Heartbeat, Hold
from worker.limits import Limits
from worker.outcome import (
    CancelRequested,
    Completed,
    Failed,
    Killed,
    LeaseLost,
    Outcome,
    Stopped,
    failed,
    failure_of,
    storage_failure,
)
from worker.patience import Interrupted, Patience
from worker.snapshot_keeper import SnapshotKeeper

_log = structlog.get_logger()
_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_BETWEEN_TRIES = 1.0
# For a child to save where it is after it was asked to stop.
_SECONDS_TO_STOP = 15.0


class Supervisor:
    """Runs one job at a time. `stopping` tells whether the worker is to stop."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        store: ArtifactStore,
        stopping: Callable[[], bool],
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._snapshots = open_snapshots(settings)
        self._caches = Caches()
        self._limits = Limits.of(settings)
        self._stopping = stopping
        self._tracer = tracer or SilentTracer()

    def run(self, job_id: str) -> None:
        """Run the job to an end, unless somebody else has it or it has ended."""
        claim = self._claim(job_id)
        if claim is None:
            _log.info("job_not_queued", job=job_id)
            return
        _log.info("job_started", job=job_id, attempt=claim.attempt)
        with AttemptTrace(self._tracer, claim) as trace:
            with Heartbeat(self._settings, self._sessions, claim) as heartbeat:
                outcome = self._attempt(claim, heartbeat, trace)
                status = self._settle(claim, heartbeat, outcome)
            trace.settled(outcome, status)
        if status in TERMINAL:
            self._forget_snapshots(job_id)
        _log.info("job_left", job=job_id, attempt=claim.attempt, status=status)

    def _claim(self, job_id: str) -> Claim | None:
        with self._sessions.begin() as session:
            jobs = JobRepository(session)
            if self._stopping():
                # Celery still hands out what arrives while it shuts down.
                jobs.announce_again(job_id)
                return None
            return jobs.claim(job_id, self._settings.lease)

    def _attempt(self, claim: Claim, heartbeat: Heartbeat, trace: AttemptTrace) -> Outcome:
        """Have it done in a folder of the attempt's own."""
        try:
            patience = Patience(heartbeat, self._stopping)
            with self._folder(claim, patience) as folder:
                snapshots = SnapshotKeeper(self._snapshots, self._sessions, claim, folder)
                patience.keep_trying(snapshots.hand_out)
                limits = self._limits.before(claim.seconds_left)
                outcome = self._supervise(folder, snapshots, heartbeat, limits, trace)
                return self._results(folder, claim.kind, patience) if outcome is None else outcome
        except Interrupted as interrupted:
            return interrupted.outcome
        except (ArtifactMissing, ArtifactDamaged):
            _log.exception("input_lost", job=claim.job_id)
            return failed(
                "damaged_checkpoint", "The store has lost or changed the uploaded file or the data set; send it again."
            )
        except OSError as error:
            _log.exception("storage_failed", job=claim.job_id)
            return storage_failure(error)

    @contextmanager
    def _folder(self, claim: Claim, patience: Patience) -> Iterator[RunFolder]:
        """The attempt's folder with the uploaded file, the data set and the spec; it is removed afterwards."""
        path = self._settings.scratch.resolve() / f"{claim.job_id}-{claim.attempt}"
        shutil.rmtree(path, ignore_errors=True)
        folder = RunFolder(path)
        folder.make()
        try:
            options = patience.keep_trying(lambda: self._fill(folder, claim))
            self._caches.copy_to(folder.caches)
            spec = RunSpec(
                options=options,
                memory_bytes=self._limits.memory_bytes,
                file_bytes=self._limits.file_bytes(claim.kind, claim.checkpoint_bytes),
                require_sandbox=self._settings.require_sandbox,
                seconds_between_snapshots=self._settings.snapshot_interval.total_seconds(),
            )
            folder.spec.write_text(spec.model_dump_json())
            yield folder
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _fill(self, folder: RunFolder, claim: Claim) -> EncodeOptions | None:
        """Put the input of a job into its folder; returns the options of an encoding."""
        if claim.kind is JobKind.RECONSTRUCTION:
            self._store.copy(claim.checkpoint_sha256, folder.encoding)
            return None
        options = EncodeOptions.model_validate(claim.options)
        self._store.copy(claim.checkpoint_sha256, folder.checkpoint)
        if claim.dataset_sha256 is not None and options.dataset is not None:
            self._store.copy(claim.dataset_sha256, folder.datasets / options.dataset)
        return options

    def _supervise(
        self, folder: RunFolder, snapshots: SnapshotKeeper, heartbeat: Heartbeat, limits: Limits, trace: AttemptTrace
    ) -> Outcome | None:
        """Watch a child until it is gone; None: it has left its results."""
        trace.starts_child()
        child, started = Child(folder), time.monotonic()
        try:
            while (status := child.wait(_SECONDS_BETWEEN_LOOKS)) is None:
                heartbeat.progress = child.progress
                if heartbeat.hold is Hold.LOST:
                    return LeaseLost()
                if heartbeat.hold is Hold.CANCELING:
                    return CancelRequested()
                if self._stopping():
                    return self._stop(child, snapshots)
                exceeded = limits.exceeded(child.resident_bytes, time.monotonic() - started)
                if exceeded is not None:
                    return exceeded
                self._keep(snapshots, child)
            self._keep(snapshots, child)
            return None if status == 0 else failure_of(status, child.error)
        finally:
            child.kill()
            trace.child_ended(child.phases)

    def _stop(self, child: Child, snapshots: SnapshotKeeper) -> Stopped:
        """Ask the child to save where it is, and wait a while for it."""
        child.terminate()
        child.wait(_SECONDS_TO_STOP)
        self._keep(snapshots, child)
        return Stopped()

    def _keep(self, snapshots: SnapshotKeeper, child: Child) -> None:
        """Keep new snapshots. Without them more work is done again, but the job goes on."""
        try:
            snapshots.keep(child.new_snapshots())
        except (OSError, SQLAlchemyError) as error:
            _log.warning("snapshot_not_kept", error=repr(error))

    def _results(self, folder: RunFolder, kind: JobKind, patience: Patience) -> Completed | Failed:
        """Put the results of a child that is gone into the store."""
        encodes = kind is JobKind.ENCODING
        names = folder.result_names() if encodes else RECONSTRUCTED
        # A link would make something else of the worker's files a result.
        if not all(stat.S_ISREG(folder.result(name).lstat().st_mode) for name in names):
            return failed("internal_error", "The job left no proper results; the worker's log says why.")
        try:
            metrics = _metrics_in(folder.report).model_dump() if encodes else None
        except ValidationError:
            _log.exception("report_unreadable")
            return failed("internal_error", "The job left no proper report; the worker's log says why.")
        artifacts = patience.keep_trying(lambda: self._publish(folder, names))
        return Completed({name: artifact.described() for name, artifact in artifacts.items()}, metrics)

    def _publish(self, folder: RunFolder, names: Sequence[str]) -> Mapping[str, StoredArtifact]:
        """Store the results. All of them are there to stay until the row can name them."""
        artifacts = {name: self._store.put(folder.result(name)) for name in names}
        # The last may have kept the first waiting for longer than what nobody names is kept.
        try:
            for artifact in artifacts.values():
                self._store.renew(artifact.sha256)
        except ArtifactMissing as error:
            raise StoreUnavailable("a result was removed before all of them were stored") from error
        return artifacts

    def _forget_snapshots(self, job_id: str) -> None:
        try:
            self._snapshots.forget(job_id)
        except StoreUnavailable as error:
            # The collector does it later.
            _log.warning("snapshots_not_removed", job=job_id, error=repr(error))

    def _settle(self, claim: Claim, heartbeat: Heartbeat, outcome: Outcome) -> str:
        """Write what has become of the job, as soon as the database answers.

        Returns the status, or `lost` where the job is somebody else's now.
        """
        while heartbeat.hold is not Hold.LOST:
            try:
                with self._sessions.begin() as session:
                    return _written(JobRepository(session), claim, outcome, self._settings.max_attempts)
            except SQLAlchemyError as error:
                _log.warning("settling_failed", job=claim.job_id, error=repr(error))
                time.sleep(_SECONDS_BETWEEN_TRIES)
        return "lost"


def _metrics_in(report: Path) -> Metrics:
    """What a report says. Raises `ValidationError`."""
    with report.open("rb") as file:
        return RunnerReport.model_validate_json(file.read(LONGEST_REPORT)).metrics


def _written(jobs: JobRepository, claim: Claim, outcome: Outcome, max_attempts: int) -> str:
    match outcome:
        case Completed(artifacts, metrics) if jobs.succeed(claim, metrics, artifacts):
            return JobStatus.SUCCEEDED
        case Failed(error) if jobs.fail(claim, error.code, error.message):
            return JobStatus.FAILED
        case Killed(error) if status := jobs.try_again(claim, max_attempts, error.code, error.message):
            return status
        case Stopped() if jobs.release(claim):
            return JobStatus.QUEUED
        case LeaseLost():
            return "lost"
        case _:
            # Whatever else happened, a job that is being canceled ends as canceled.
            return JobStatus.CANCELED if jobs.confirm_cancel(claim) else "lost"
