"""Supervision of a running child: it is watched until it ends, also while its snapshots are copied."""

from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from worker.child import Child
from worker.heartbeat import Heartbeat
from worker.outcome import Outcome, Stopped, failure_of
from worker.patience import Interrupted, refuse_unheld
from worker.snapshot_keeper import SnapshotKeeper
from worker.watch import ChildWatch

_log = structlog.get_logger()
_SECONDS_BETWEEN_LOOKS = 0.2
# Time for a child to save a snapshot after it was asked to stop.
_SECONDS_TO_STOP = 15.0


class _CopyAbandoned(Exception):
    """The copy of a snapshot was ended because the worker stops; the child then saves a newer one."""


class Supervision:
    """Supervises one child. `stopping` returns true if the worker is to stop."""

    def __init__(
        self,
        child: Child,
        watch: ChildWatch,
        heartbeat: Heartbeat,
        snapshots: SnapshotKeeper,
        stopping: Callable[[], bool],
    ) -> None:
        self._child = child
        self._watch = watch
        self._heartbeat = heartbeat
        self._snapshots = snapshots
        self._stopping = stopping

    def outcome(self) -> Outcome | None:
        """Wait until the child ends; return None if it has written its results.

        Raises `Interrupted` if the job is canceled, lost or over its limits.
        """
        while (status := self._child.wait(_SECONDS_BETWEEN_LOOKS)) is None:
            self._heartbeat.progress = self._child.lines.progress
            refuse_unheld(self._heartbeat)
            if self._stopping():
                return self._stop()
            self._refuse_excess()
            self._keep(self._go_on_copying)
        self._keep_last()
        lines = self._child.lines
        return None if status == 0 else failure_of(status, lines.error, lines.count, has_read=lines.has_read)

    def _refuse_excess(self) -> None:
        objection = self._watch.objection()
        if objection is not None:
            raise Interrupted(objection)

    def _go_on_copying(self) -> None:
        """Check everything that is checked between copies, so that a runner cannot hide behind a large snapshot."""
        self._heartbeat.progress = self._child.lines.progress
        refuse_unheld(self._heartbeat)
        if self._stopping():
            raise _CopyAbandoned
        if self._child.is_running:
            self._refuse_excess()

    def _stop(self) -> Stopped:
        """Ask the child to save a snapshot and exit, and wait a while for it."""
        self._child.terminate()
        self._child.wait(_SECONDS_TO_STOP)
        # It must not run on unwatched while its snapshots are copied.
        self._child.kill()
        self._keep_last()
        return Stopped()

    def _keep_last(self) -> None:
        """Store the last snapshots of an ended child while the job is held."""
        self._keep(lambda: refuse_unheld(self._heartbeat), last=True)

    def _keep(self, go_on: Callable[[], None], *, last: bool = False) -> None:
        """Store new snapshots. A failure costs the next attempt some work, but does not fail the job."""
        try:
            self._snapshots.keep(self._child.lines.new_snapshots(), go_on, last=last)
        except (OSError, SQLAlchemyError) as error:
            _log.warning("snapshots_not_kept", error=repr(error))
        except _CopyAbandoned:
            _log.info("snapshot_abandoned")
