"""Monitor a running child until it ends, also while its snapshots are copied."""

from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from worker.child import Child
from worker.heartbeat import Heartbeat
from worker.outcome import AttemptAborted, Outcome, Stopped, failure_of
from worker.snapshot_keeper import SnapshotKeeper
from worker.timing import Timing
from worker.watchdog import Watchdog

_log = structlog.get_logger()


class _CopyAborted(Exception):
    """The copy of a snapshot was aborted because the worker stops; the child then saves a newer one."""


class ChildMonitor:
    """Monitors one child. `stopping` returns true if the worker is to stop."""

    def __init__(
        self,
        child: Child,
        watchdog: Watchdog,
        heartbeat: Heartbeat,
        snapshots: SnapshotKeeper,
        stopping: Callable[[], bool],
        timing: Timing,
    ) -> None:
        self._child = child
        self._watchdog = watchdog
        self._heartbeat = heartbeat
        self._snapshots = snapshots
        self._stopping = stopping
        self._timing = timing

    def wait(self) -> Outcome | None:
        """Wait until the child ends; return None if it has written its results.

        Raises `AttemptAborted` if the job is canceled, lost or over its limits.
        """
        while (status := self._child.wait(self._timing.between_checks)) is None:
            self._heartbeat.progress = self._child.lines.progress
            self._heartbeat.require_held()
            if self._stopping():
                return self._stop()
            self._enforce_limits()
            self._keep_snapshots(self._check_during_copy)
        self._keep_last_snapshots()
        lines = self._child.lines
        return None if status == 0 else failure_of(status, lines.error, lines.count, has_read=lines.has_read)

    def _enforce_limits(self) -> None:
        exceeded = self._watchdog.check()
        if exceeded is not None:
            raise AttemptAborted(exceeded)

    def _check_during_copy(self) -> None:
        """Check everything that is checked between copies, so that a runner cannot hide behind a large snapshot."""
        self._heartbeat.progress = self._child.lines.progress
        self._heartbeat.require_held()
        if self._stopping():
            raise _CopyAborted
        if self._child.is_running:
            self._enforce_limits()

    def _stop(self) -> Stopped:
        """Ask the child to save a snapshot and exit, and wait a while for it."""
        self._child.terminate()
        self._child.wait(self._timing.to_stop)
        # It must not run on unwatched while its snapshots are copied.
        self._child.kill()
        self._keep_last_snapshots()
        return Stopped()

    def _keep_last_snapshots(self) -> None:
        """Store the last snapshots of an ended child while the job is held."""
        self._keep_snapshots(self._heartbeat.require_held, last=True)

    def _keep_snapshots(self, check: Callable[[], None], *, last: bool = False) -> None:
        """Store new snapshots. A failure costs the next attempt some work, but does not fail the job."""
        try:
            self._snapshots.keep(self._child.lines.new_snapshots(), check, last=last)
        except (OSError, SQLAlchemyError) as error:
            _log.warning("snapshots_not_kept", error=repr(error))
        except _CopyAborted:
            _log.info("snapshot_abandoned")
