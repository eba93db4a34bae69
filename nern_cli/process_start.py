"""The time at which this process started, so that reported seconds include loading Python and its packages."""

import os
import time
from pathlib import Path

# A process keeps its start time when it is replaced by another program (`exec`): a longer time is not loading.
_LONGEST_LOADING = 10.0
# Fields of /proc/self/stat after the program's name, which is in parentheses: the first is field 3, the start field 22.
_START_FIELD = 22 - 3


def started_at(first_import: float) -> float:
    """Return the start of this process as `time.perf_counter` counts.

    `first_import` is when the first module of this package was loaded. It is returned if the start is unknown, as
    outside of Linux, or lies too far back to be that of this program.
    """
    age = _age_of_process()
    if age is None:
        return first_import
    started = time.perf_counter() - age
    return started if 0 <= first_import - started <= _LONGEST_LOADING else first_import


def _age_of_process() -> float | None:
    """Return the seconds since the system started this process; None if the system does not say."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        ticks = int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks
    except (OSError, ValueError, IndexError, AttributeError):
        return None
