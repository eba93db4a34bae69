"""Limits on what a job may take of the worker's machine."""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from app.jobs.kinds import JobKind
from app.settings import Settings
from worker.outcome import Failed, deadline_passed, out_of_memory, own_deadline_passed

_SHARE_OF_MEMORY = 0.75
# Results are as large as the checkpoint, snapshots some times as large; what is small has room beside them.
_FILE_BYTES_PER_CHECKPOINT_BYTE = 16
# As `nern_core.codec` has it: an encoding may be a thousand times smaller than its checkpoint, and more with tied ones.
_FILE_BYTES_PER_ENCODING_BYTE = 4096
_MOST_SMALL_FILE_BYTES = 2**30
# Both formats of the weights, and the snapshots beside them.
_FILES_IN_FOLDER = 2
_MOST_FILES = 10_000
_THREADS_PER_CORE, _MOST_OTHER_THREADS = 16, 256
# A computation uses some processor time every second, even on a GPU.
_SECONDS_OF_SILENCE = 60.0
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one attempt at a job; `seconds_left` are those until the job's own deadline.

    A file may have `file_bytes`, all that the job writes into its folder `folder_bytes` and `files`. After
    `silence_seconds` without a line or processor time it is taken for frozen.
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
        """Take the limits from the settings, or three quarters of the memory that this machine or container has."""
        return cls(settings.job_memory or round(_SHARE_OF_MEMORY * _memory()), settings.job_deadline.total_seconds())

    def for_job(self, kind: JobKind, input_bytes: int, seconds_left: float | None) -> "Limits":
        """The limits of a job with a checkpoint or an encoding of this size, and perhaps a deadline of its own."""
        encodes = kind is JobKind.ENCODING
        factor = _FILE_BYTES_PER_CHECKPOINT_BYTE if encodes else _FILE_BYTES_PER_ENCODING_BYTE
        file_bytes = factor * input_bytes + _MOST_SMALL_FILE_BYTES
        return replace(self, file_bytes=file_bytes, seconds_left=math.inf if seconds_left is None else seconds_left)

    @property
    def folder_bytes(self) -> int:
        """Bytes that a job may write into its folder."""
        return _FILES_IN_FOLDER * self.file_bytes

    def exceeded(self, resident_bytes: int, seconds: float) -> Failed | None:
        """Return why a job with this memory and running time has to stop; None if it is within its limits."""
        if resident_bytes > self.memory_bytes:
            return out_of_memory(self.memory_bytes)
        if seconds > self.seconds_left:
            return own_deadline_passed()
        return deadline_passed(self.seconds) if seconds > self.seconds else None


def _memory() -> int:
    """Bytes of memory of this machine, or of the container if it has less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in map(Path, _CGROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdigit():
            found.append(int(text))
    return min(found)
