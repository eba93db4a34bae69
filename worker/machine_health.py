"""Health of the worker's machine: with a full or broken disk it must not take jobs from healthy workers."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from app.kit.durable_files import make_folder
from worker.machine_faults import machine_fault_in, write_probe
from worker.timing import Timing

_log = structlog.get_logger()
_UNKNOWN_FAULT = "storage_failed"
_SECONDS_BETWEEN_CHECKS = 0.2
# Files needed by a job: some hundred, most of them caches.
_FEWEST_FILES = 500


class MachineHealth:
    """Probes folders that must have free space. `stopping` returns true if the worker is to stop.

    While the machine cannot work, `report` is called regularly with the reason, and at the end with None.
    """

    def __init__(
        self,
        room: Mapping[Path, int],
        stopping: Callable[[], bool],
        report: Callable[[str | None], None],
        timing: Timing,
    ) -> None:
        self._room = room
        self._stopping = stopping
        self._report = report
        self._timing = timing
        self._pause = timing.first_pause
        self._not_before = 0.0
        self._reason = _UNKNOWN_FAULT

    def probe(self) -> str | None:
        """Try to write into each folder; return the fault, or None."""
        for folder, room in self._room.items():
            try:
                _require_room(folder, room)
            except OSError as error:
                _log.warning("probe_failed", folder=str(folder), error=repr(error))
                return machine_fault_in(error) or _UNKNOWN_FAULT
        return None

    def note_fault(self, reason: str) -> None:
        """Pause the machine after it failed a job. Each pause is longer, until a job succeeds."""
        self._reason = reason
        self._not_before = self._timing.now() + self._pause
        self._pause = min(2 * self._pause, self._timing.longest_pause)

    def note_success(self) -> None:
        """Forget earlier faults, because a job has succeeded."""
        self._pause = self._timing.first_pause

    def fault(self) -> str | None:
        """Return the fault that currently keeps this machine from working, or None."""
        return self._reason if self._timing.now() < self._not_before else self.probe()

    def wait(self) -> bool:
        """Wait until the machine can work, and log it. Return false if the worker is to stop."""
        pause, since = self._timing.first_pause, self._timing.now()
        while (reason := self.fault()) is not None:
            _log.error("worker_unfit", reason=reason, seconds=round(self._timing.now() - since, 1))
            self._report(reason)
            if not self._sleep(pause):
                self._report(None)
                return False
            pause = min(2 * pause, self._timing.longest_pause)
        self._report(None)
        _log.info("worker_fit", seconds=round(self._timing.now() - since, 1))
        return True

    def _sleep(self, seconds: float) -> bool:
        until = self._timing.now() + seconds
        while self._timing.now() < until:
            if self._stopping():
                return False
            self._timing.sleep(_SECONDS_BETWEEN_CHECKS)
        return True


def _require_room(folder: Path, room: int) -> None:
    """Try to write. Raises `OSError`, also if less than `room` bytes are free."""
    make_folder(folder)
    found = os.statvfs(folder)
    # Some file systems have no limit on the number of files.
    if found.f_bavail * found.f_frsize < room or (found.f_files and found.f_favail < _FEWEST_FILES):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    write_probe(folder)
