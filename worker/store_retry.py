"""Retry calls to an artifact store that does not answer or is full, while the job is still held."""

from collections.abc import Callable
from typing import TypeVar

import structlog

from app.storage import StoreUnavailable
from worker.heartbeat import Heartbeat
from worker.machine_faults import machine_fault_in
from worker.outcome import AttemptAborted, Stopped
from worker.timing import Timing

_log = structlog.get_logger()

Found = TypeVar("Found")


class StoreRetry:
    """Retries calls to the store, each until its timeout, so that an outage does not cost a finished training."""

    def __init__(self, heartbeat: Heartbeat, stopping: Callable[[], bool], timing: Timing) -> None:
        self._heartbeat = heartbeat
        self._stopping = stopping
        self._timing = timing

    def check(self) -> None:
        """Raise `AttemptAborted` if the job is lost or to be canceled, or if the worker is to stop."""
        self._heartbeat.require_held()
        if self._stopping():
            raise AttemptAborted(Stopped())

    def call(self, work: Callable[[], Found], *, wait_for_room: bool = False) -> Found:
        """Retry `work` until it succeeds; with `wait_for_room`, also while a disk is full.

        Raises `AttemptAborted`, and after the timeout `StoreUnavailable` or another `OSError`.
        """
        started = self._timing.now()
        while True:
            try:
                return work()
            except StoreUnavailable as error:
                _log.warning("storage_unavailable", error=repr(error))
                if self._timing.now() - started > self._timing.store_timeout:
                    raise
            except OSError as error:
                reason = machine_fault_in(error)
                timed_out = self._timing.now() - started > self._timing.full_disk_timeout
                if not wait_for_room or reason is None or timed_out:
                    raise
                _log.warning("waiting_for_storage", reason=reason, error=repr(error))
            self.check()
            self._timing.sleep(self._timing.between_store_retries)
