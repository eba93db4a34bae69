"""Exit statuses of the command, and the error codes that each stands for."""

from collections.abc import Collection
from enum import IntEnum
from typing import Final

from nern_core.contract.errors import NernError


class ExitCode(IntEnum):
    """Stable exit statuses for scripts. After a signal, the status is 128 plus the signal's number."""

    SUCCEEDED = 0
    FAILED = 1
    MISUSED = 2
    JOB_FAILED = 3
    JOB_CANCELED = 4
    TIMED_OUT = 5
    UNREACHABLE = 6
    TARGET_MISSED = 7
    TOO_LOSSY = 8
    BAD_INPUT = 9
    CANNOT_WRITE = 10
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_CODES: Final = (
    "Exit status: 0 success, 1 error, 2 wrong usage; for jobs: 3 failed, 4 canceled, 5 timed out, "
    "6 service unreachable; 7 target missed, 8 result too lossy, 9 input file unusable, 10 output cannot be written; "
    "129, 130, 143 stopped by SIGHUP, Ctrl-C, SIGTERM."
)

# All other errors concern an input file.
_CODES: Final = {
    ExitCode.FAILED: {
        "bad_tenant",
        "cuda",
        "diverged",
        "keys_needed",
        "missing_extra",
        "mlflow_failed",
        "no_database",
        "no_gpu",
        "no_mlflow",
        "no_nncodec",
        "no_opentelemetry",
        "other_schema",
        "storage_settings",
        "unknown_key",
        "unsafe_database",
    },
    ExitCode.MISUSED: {
        "broken_architecture",
        "incomplete_teacher",
        "invalid_options",
        "invalid_reference",
        "no_architecture",
        "no_model_name",
        "other_snapshots",
        "teacher_without_data",
        "too_many_patterns",
        "unknown_architecture",
        "unknown_format",
        "unmatched_pattern",
    },
    ExitCode.TARGET_MISSED: {"target_too_small"},
    ExitCode.TOO_LOSSY: {"too_lossy"},
    ExitCode.CANNOT_WRITE: {"cannot_write", "disk_full", "folder_not_empty", "is_folder", "no_folder", "own_input"},
}
# Fields of a submission whose errors concern the file: its content, or what the options expect in it.
_FILE_FIELDS: Final = frozenset({"checkpoint", "encoding", "key", "architecture", "kernels"})
_DATASET_ERRORS: Final = frozenset({"not_a_dataset"})


def exit_code_of(error: NernError) -> ExitCode:
    """Return the exit status for an error."""
    return _status_of(error.code) or ExitCode.BAD_INPUT


def exit_code_of_refusal(slug: str, fields: Collection[str]) -> ExitCode:
    """Return the exit status for input that a service refuses: that of the same error on this machine.

    `slug` is the type of the problem; `fields` are those that it names.
    """
    code = slug.replace("-", "_")
    if (status := _status_of(code)) is not None:
        return status
    is_about_file = code in _DATASET_ERRORS or not _FILE_FIELDS.isdisjoint(fields)
    return ExitCode.BAD_INPUT if is_about_file else ExitCode.FAILED


def _status_of(code: str) -> ExitCode | None:
    return next((status for status, codes in _CODES.items() if code in codes), None)
