"""How much a job may take of the worker's machine."""

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
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class Limits:
    """Memory and time of one attempt at a job; `seconds_left` are those until the job's own deadline."""

    memory_bytes: int
    seconds: float
    seconds_left: float = math.inf

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings allow, or three quarters of the memory that this machine or container has."""
        return cls(settings.job_memory or round(_SHARE_OF_MEMORY * _memory()), settings.job_deadline.total_seconds())

    def before(self, seconds_left: float | None) -> "Limits":
        """The same for a job that may have a deadline of its own."""
        return self if seconds_left is None else replace(self, seconds_left=seconds_left)

    @staticmethod
    def file_bytes(kind: JobKind, input_bytes: int) -> int:
        """How large a file a job may write for a checkpoint or an encoding of this size."""
        encodes = kind is JobKind.ENCODING
        factor = _FILE_BYTES_PER_CHECKPOINT_BYTE if encodes else _FILE_BYTES_PER_ENCODING_BYTE
        return factor * input_bytes + _MOST_SMALL_FILE_BYTES

    def exceeded(self, resident_bytes: int, seconds: float) -> Failed | None:
        """Why a job that has so much memory and has run for so long is to be stopped; None: it may go on."""
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
