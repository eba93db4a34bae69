"""What the exit status of the command means."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Stable numbers, for scripts."""

    SUCCEEDED = 0
    FAILED = 1
    MISUSED = 2
    JOB_FAILED = 3
    JOB_CANCELED = 4
    TIMED_OUT = 5
    UNREACHABLE = 6
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit status: 0 done, 1 error, 2 wrong usage; of jobs: 3 failed, 4 canceled, 5 not ended in time, "
    "6 the service cannot be reached; 130 interrupted."
)
