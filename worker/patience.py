"""Waits for an artifact store that does not answer, as long as the job is wanted here."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from app.storage import StoreUnavailable
from worker.heartbeat import Heartbeat, Hold
from worker.outcome import CancelRequested, LeaseLost, Outcome, Stopped

_log = structlog.get_logger()
_SECONDS_TO_WAIT = 3600.0
_SECONDS_BETWEEN_TRIES = 2.0

Found = TypeVar("Found")


class Interrupted(Exception):
    """Something else has become of the job meanwhile."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Patience:
    """Tries again what the store does not answer, for an hour each time: no outage costs a finished training."""

    def __init__(self, heartbeat: Heartbeat, stopping: Callable[[], bool]) -> None:
        self._heartbeat = heartbeat
        self._stopping = stopping

    def keep_trying(self, work: Callable[[], Found]) -> Found:
        """Do it until it is done. Raises `Interrupted`, and `StoreUnavailable` in the end."""
        deadline = time.monotonic() + _SECONDS_TO_WAIT
        while True:
            try:
                return work()
            except StoreUnavailable as error:
                _log.warning("storage_unavailable", error=repr(error))
                if time.monotonic() > deadline:
                    raise
            self._refuse_unwanted()
            time.sleep(_SECONDS_BETWEEN_TRIES)

    def _refuse_unwanted(self) -> None:
        if self._heartbeat.hold is Hold.LOST:
            raise Interrupted(LeaseLost())
        if self._heartbeat.hold is Hold.CANCELING:
            raise Interrupted(CancelRequested())
        if self._stopping():
            raise Interrupted(Stopped())
