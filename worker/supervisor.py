"""The supervisor: claims a job, runs it in a child process, and publishes the child's results.

The outcome of a job is one compare-and-set on its row, fenced by the attempt: a supervisor that has lost its lease can
no longer change anything.
"""

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import perf_counter

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db.transactions import Sessions, is_refused
from app.jobs.kinds import JobKind
from app.jobs.models import TERMINAL
from app.jobs.repository import JobRepository
from app.jobs.snapshots.store import open_snapshots
from app.jobs.transitions import Claim
from app.settings import Settings
from app.storage import ArtifactDamaged, ArtifactMissing, ArtifactStore, StoreUnavailable
from app.tracing import SilentTracer, Tracer
from app.workers.repository import WorkerRepository
from nern_core.contract.options import EncodeOptions
from nern_core.contract.progress import Phase, Progress
from worker.attempt_trace import AttemptTrace
from worker.child import ChildStarter, RunnerStarter
from worker.child_monitor import ChildMonitor
from worker.folder import RunFolder, RunSpec
from worker.heartbeat import Heartbeat
from worker.limits import Limits
from worker.machine_faults import machine_fault_in
from worker.machine_health import MachineHealth
from worker.outcome import (
    NO_RUNNER,
    NO_SANDBOX,
    AttemptAborted,
    Completed,
    Failed,
    MachineFault,
    Outcome,
    failed,
    machine_fault_repeated,
    results_too_large,
    store_unavailable,
)
from worker.results import UnusableResults, publish, read_results, with_publication
from worker.scratch import remove_tree
from worker.settlement import settle
from worker.snapshot_keeper import SnapshotKeeper
from worker.store_retry import StoreRetry
from worker.timing import Timing
from worker.watchdog import Watchdog

_log = structlog.get_logger()
# Free space needed to begin a job: in the folder where jobs work, and in the one for results.
_ROOM_FOR_WORK, _ROOM_FOR_RESULTS = 32 * 2**20, 2**20
# After this many faults on a healthy machine, the job itself is considered too large.
_MOST_FAULTS = 3
_MOST_TURNS = 5


class Supervisor:
    """Runs one job at a time. `stopping` returns true if the worker is to stop.

    `limits` apply to each job; by default they come from the settings.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        store: ArtifactStore,
        stopping: Callable[[], bool],
        tracer: Tracer | None = None,
        *,
        starter: ChildStarter | None = None,
        limits: Limits | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._snapshots = open_snapshots(settings)
        self._starter = starter or RunnerStarter()
        self._limits = limits or Limits.of(settings)
        self._timing = timing or Timing()
        # A runner saves each snapshot once per interval; the half leaves room for one at the end of a stage.
        self._snapshot_pause = settings.snapshot_interval.total_seconds() / 2
        self._stopping = stopping
        self._tracer = tracer or SilentTracer()
        room = {settings.scratch.resolve(): _ROOM_FOR_WORK}
        if not store.is_remote:
            room[settings.artifacts.resolve()] = _ROOM_FOR_RESULTS
        self._health = MachineHealth(room, stopping, self._report_health, self._timing)
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._faults: Counter[str] = Counter()

    def run(self, job_id: str) -> None:
        """Run the job, or the one whose turn it is, until it ends; skip it if it is claimed or has ended."""
        if not self._can_work(job_id):
            return
        claim = self._claim(job_id)
        if claim is None:
            _log.info("job_not_queued", job=job_id)
            return
        # The claimed job may be another one than the message names.
        job_id = claim.job_id
        _log.info("job_started", job=job_id, attempt=claim.attempt)
        with AttemptTrace(self._tracer, claim) as trace:
            with Heartbeat(self._settings, self._sessions, claim, self._timing) as heartbeat:
                outcome = self._attributed(job_id, self._attempt(claim, heartbeat, trace))
                status = settle(
                    self._sessions, self._store, claim, heartbeat, outcome, self._settings.max_attempts, self._timing
                )
            trace.settled(outcome, status)
        if status in TERMINAL:
            self._forget_snapshots(job_id)
        _log.info("job_left", job=job_id, attempt=claim.attempt, status=status)

    def _can_work(self, job_id: str) -> bool:
        """Wait until this machine can work; offer the job to other workers meanwhile. False: the worker stops."""
        if self._health.fault() is None:
            return True
        with suppress(SQLAlchemyError), self._sessions.begin() as session:
            JobRepository(session).announce_again(job_id)
        return self._health.wait()

    def _report_health(self, reason: str | None) -> None:
        """Record, for the metrics, that this worker cannot work, or can again, if the database answers."""
        with suppress(SQLAlchemyError), self._sessions.begin() as session:
            workers = WorkerRepository(session)
            if reason is None:
                workers.note_fit(self._name)
            else:
                workers.note_unfit(self._name, reason)

    def _claim(self, job_id: str) -> Claim | None:
        """Claim the job as soon as the database answers. Raises `SQLAlchemyError` after a minute without an answer."""
        deadline = self._timing.now() + self._timing.to_claim
        while True:
            try:
                return self._claim_once(job_id)
            except SQLAlchemyError as error:
                _log.warning("claiming_failed", job=job_id, error=repr(error))
                if is_refused(error) or self._stopping() or self._timing.now() > deadline:
                    raise
            self._timing.sleep(self._timing.between_database_retries)

    def _claim_once(self, job_id: str) -> Claim | None:
        with self._sessions.begin() as session:
            jobs = JobRepository(session)
            if self._stopping():
                # Celery still delivers messages while it shuts down.
                jobs.announce_again(job_id)
                return None
            for _ in range(_MOST_TURNS):
                turn = jobs.whose_turn(job_id)
                claim = jobs.claim(turn, self._settings.lease)
                # Another worker may have claimed the job first.
                if claim is not None or turn == job_id:
                    return claim
            jobs.announce_again(job_id)
            return None

    def _attributed(self, job_id: str, outcome: Outcome) -> Outcome:
        """Attribute a machine fault to the job if it repeats although the machine is healthy."""
        if not isinstance(outcome, MachineFault):
            self._faults.pop(job_id, None)
            if isinstance(outcome, Completed):
                self._health.note_success()
            return outcome
        _log.error("machine_fault", job=job_id, reason=outcome.reason)
        if self._health.probe() is not None:
            self._health.note_fault(outcome.reason)
            return outcome
        if outcome.reason in {NO_RUNNER, NO_SANDBOX}:
            # No file of the job was read yet, so the job is not the cause: leave it to another worker.
            self._health.note_fault(outcome.reason)
            return outcome
        self._faults[job_id] += 1
        if self._faults[job_id] < _MOST_FAULTS:
            return outcome
        del self._faults[job_id]
        return machine_fault_repeated(outcome)

    def _attempt(self, claim: Claim, heartbeat: Heartbeat, trace: AttemptTrace) -> Outcome:
        """Run the job in the attempt's own folder."""
        if not heartbeat.is_beating:
            return MachineFault(NO_RUNNER)
        try:
            retry = StoreRetry(heartbeat, self._stopping, self._timing)
            limits = self._limits.for_job(claim.kind, claim.checkpoint_bytes, claim.seconds_left)
            with self._folder(claim, limits, retry) as folder:
                pause, most_bytes = self._snapshot_pause, limits.file_bytes
                snapshots = SnapshotKeeper(
                    self._snapshots, self._sessions, claim, folder, most_bytes, pause, self._timing
                )
                retry.call(snapshots.restore)
                outcome = self._supervise(folder, snapshots, heartbeat, limits, trace)
                return self._results(folder, claim, heartbeat, retry) if outcome is None else outcome
        except AttemptAborted as aborted:
            return aborted.outcome
        except (ArtifactMissing, ArtifactDamaged):
            _log.exception("input_lost", job=claim.job_id)
            return failed(
                "damaged_checkpoint", "The store lost or damaged the uploaded file or the data set; upload it again."
            )
        except StoreUnavailable:
            _log.exception("storage_unavailable", job=claim.job_id)
            return store_unavailable()
        except OSError as error:
            # The child handles the job itself, so an error here is a fault of this machine.
            _log.exception("storage_failed", job=claim.job_id)
            return MachineFault(machine_fault_in(error) or "storage_failed")

    @contextmanager
    def _folder(self, claim: Claim, limits: Limits, retry: StoreRetry) -> Iterator[RunFolder]:
        """Create the attempt's folder with the uploaded file, the data set and the spec; remove it afterwards."""
        started = perf_counter()
        folder = RunFolder.of_attempt(self._settings.scratch, claim.job_id, claim.attempt)
        remove_tree(folder.path)
        try:
            folder.make()
            options = retry.call(lambda: self._fill(folder, claim))
            self._starter.prepare(folder, retry.check)
            spec = RunSpec(
                options=options,
                memory_bytes=limits.memory_bytes,
                file_bytes=limits.file_bytes,
                require_sandbox=self._settings.require_sandbox,
                seconds_between_snapshots=self._settings.snapshot_interval.total_seconds(),
                started=started,
            )
            folder.spec.write_text(spec.model_dump_json(), encoding="utf-8")
            yield folder
        finally:
            remove_tree(folder.path)

    def _fill(self, folder: RunFolder, claim: Claim) -> EncodeOptions | None:
        """Copy the input of a job into its folder; return the options of an encoding."""
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
        """Run a child until it ends; return None if it has written its results. Raises `AttemptAborted`."""
        trace.starts_child()
        try:
            child = self._starter.start(folder)
        except OSError:
            _log.exception("runner_not_started", job=folder.job_id)
            return MachineFault(NO_RUNNER)
        try:
            watchdog = Watchdog(child, folder.path, limits, self._timing)
            return ChildMonitor(child, watchdog, heartbeat, snapshots, self._stopping, self._timing).wait()
        finally:
            child.kill()
            trace.child_ended(child.lines.phases)

    def _results(self, folder: RunFolder, claim: Claim, heartbeat: Heartbeat, retry: StoreRetry) -> Completed | Failed:
        """Put the results of an ended child into the store."""
        started = perf_counter()
        heartbeat.progress = Progress(phase=Phase.PUBLICATION, fraction=1.0)
        try:
            results = read_results(folder, claim.kind)
        except UnusableResults:
            _log.exception("results_unusable", job=folder.job_id)
            return failed("internal_error", "The job's results are missing or invalid; see the worker's log.")
        if not results.fit(claim.expected_bytes):
            return results_too_large()
        artifacts = retry.call(lambda: publish(self._store, folder, results.names), wait_for_room=True)
        metrics = with_publication(results.metrics, perf_counter() - started)
        return Completed({name: artifact.described() for name, artifact in artifacts.items()}, metrics)

    def _forget_snapshots(self, job_id: str) -> None:
        try:
            self._snapshots.forget(job_id)
        except StoreUnavailable as error:
            # The collector removes them later.
            _log.warning("snapshots_not_removed", job=job_id, error=repr(error))
