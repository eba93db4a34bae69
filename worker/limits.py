"""Limits on a job's use of the worker's machine."""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from app.jobs.kinds import JobKind
from app.settings import Settings
from worker.outcome import Failed, deadline_passed, out_of_memory, own_deadline_passed

_SHARE_OF_MEMORY = 0.75
# Results are as large as the checkpoint, snapshots several times as large; small files get a fixed allowance.
_FILE_BYTES_PER_CHECKPOINT_BYTE = 16
# From `nern_core.container`: an encoding may be a thousand times smaller than its checkpoint, more with tied tensors.
_FILE_BYTES_PER_ENCODING_BYTE = 4096
_MOST_SMALL_FILE_BYTES = 2**30
# Both formats of the weights, and the snapshots.
_FILES_IN_FOLDER = 2
_MOST_FILES = 10_000
_THREADS_PER_CORE, _MOST_OTHER_THREADS = 16, 256
# A computation uses processor time every second, even on a GPU.
_SECONDS_OF_SILENCE = 60.0
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one attempt at a job; `seconds_left` is the time until the job's own deadline.

    `file_bytes` limits each file; `for_job` adds a multiple of the input. `folder_bytes` and `files` limit all that the
    job writes into its folder. After `silence_seconds` without a line of output or processor time, the job counts as
    frozen.
    """

    memory_bytes: int
    seconds: float
    seconds_left: float = math.inf
    file_bytes: int = _MOST_SMALL_FILE_BYTES
    files: int = _MOST_FILES
    threads: int = _THREADS_PER_CORE * (os.cpu_count() or 1) + _MOST_OTHER_THREADS
    silence_seconds: float = _SECONDS_OF_SILENCE

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read the limits from the settings; memory defaults to three quarters of this machine's or container's."""
        return cls(settings.job_memory or round(_SHARE_OF_MEMORY * _memory()), settings.job_deadline.total_seconds())

    def for_job(self, kind: JobKind, input_bytes: int, seconds_left: float | None) -> "Limits":
        """Return the limits of a job with an input of `input_bytes` and `seconds_left` until its deadline, if any."""
        encodes = kind is JobKind.ENCODING
        factor = _FILE_BYTES_PER_CHECKPOINT_BYTE if encodes else _FILE_BYTES_PER_ENCODING_BYTE
        file_bytes = factor * input_bytes + self.file_bytes
        return replace(self, file_bytes=file_bytes, seconds_left=math.inf if seconds_left is None else seconds_left)

    @property
    def folder_bytes(self) -> int:
        """Bytes that a job may write into its folder."""
        return _FILES_IN_FOLDER * self.file_bytes

    def exceeded(self, resident_bytes: int, seconds: float) -> Failed | None:
        """Return the failure of a job that exceeds its memory or time; None if it is within its limits."""
        if resident_bytes > self.memory_bytes:
            return out_of_memory(self.memory_bytes)
        if seconds > self.seconds_left:
            return own_deadline_passed()
        return deadline_passed(self.seconds) if seconds > self.seconds else None


def _memory() -> int:
    """Return the bytes of memory of this machine, or of the container if it has less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in map(Path, _CGROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdigit():
            found.append(int(text))
    return min(found)
