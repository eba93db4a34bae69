"""Wait for an artifact store that does not answer or is full, while the job is still held."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from app.storage import StoreUnavailable
from worker.heartbeat import Heartbeat, Hold
from worker.machine_faults import machine_fault_in
from worker.outcome import CancelRequested, LeaseLost, Outcome, Stopped

_log = structlog.get_logger()
_SECONDS_TO_WAIT = 3600.0
_SECONDS_TO_WAIT_FOR_ROOM = 600.0
_SECONDS_BETWEEN_TRIES = 2.0

Found = TypeVar("Found")


class Interrupted(Exception):
    """The job was lost, canceled, stopped or over its limits while work was under way; `outcome` says which."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Patience:
    """Retries calls to the store, each for up to an hour, so that an outage does not cost a finished training."""

    def __init__(self, heartbeat: Heartbeat, stopping: Callable[[], bool]) -> None:
        self._heartbeat = heartbeat
        self._stopping = stopping

    def keep_trying(self, work: Callable[[], Found], *, wait_for_room: bool = False) -> Found:
        """Retry `work` until it succeeds; with `wait_for_room`, also while a disk is full.

        Raises `Interrupted`, and after the timeout `StoreUnavailable` or another `OSError`.
        """
        started = time.monotonic()
        while True:
            try:
                return work()
            except StoreUnavailable as error:
                _log.warning("storage_unavailable", error=repr(error))
                if time.monotonic() - started > _SECONDS_TO_WAIT:
                    raise
            except OSError as error:
                reason = machine_fault_in(error)
                if not wait_for_room or reason is None or time.monotonic() - started > _SECONDS_TO_WAIT_FOR_ROOM:
                    raise
                _log.warning("waiting_for_storage", reason=reason, error=repr(error))
            refuse_unheld(self._heartbeat)
            if self._stopping():
                raise Interrupted(Stopped())
            time.sleep(_SECONDS_BETWEEN_TRIES)


def refuse_unheld(heartbeat: Heartbeat) -> None:
    """Raise `Interrupted` if the job is lost or to be canceled."""
    if heartbeat.hold is Hold.LOST:
        raise Interrupted(LeaseLost())
    if heartbeat.hold is Hold.CANCELING:
        raise Interrupted(CancelRequested())
