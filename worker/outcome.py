"""What an attempt at a job can come to."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.durable_files import is_full_disk
from app.storage import StoreUnavailable
from worker.folder import INTERRUPTED, ErrorLine


@dataclass(frozen=True, slots=True)
class Completed:
    """The results are in the store: size and digest of each by name, and the metrics of an encoding."""

    artifacts: Mapping[str, Any]
    metrics: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Failed:
    """There are no results, and why."""

    error: ErrorLine


@dataclass(frozen=True, slots=True)
class Killed:
    """Somebody has killed the child; another attempt may come through. The error is for when none does."""

    error: ErrorLine


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody asked to cancel the job; the child is gone."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The worker was told to stop; the child has saved where it is, if it could, and is gone."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The job is no longer this supervisor's; the child is gone."""


Outcome = Completed | Failed | Killed | CancelRequested | Stopped | LeaseLost

_KILLED = ErrorLine(
    code="killed",
    message="The job was killed again and again, most likely because the worker's machine ran out of memory; encode "
    "with a smaller `hidden_size`, or tell the operator.",
)
DISK_FULL = ErrorLine(
    code="disk_full", message="The disk of the worker is full; try again later, or tell the operator."
)
_DEADLINE_EXCEEDED = "deadline_exceeded"
_NO_STORAGE = "The worker could not read or write its files; tell the operator, whose log says why."
_NO_STORE = "The artifact store did not answer the worker for a long time; submit the job again, or tell the operator."


def failed(code: str, message: str) -> Failed:
    """A failure with this code and sentence."""
    return Failed(ErrorLine(code=code, message=message))


def failure_of(status: int, error: ErrorLine | None) -> Failed | Killed | Stopped:
    """What it means that a child ended with a status other than 0, and perhaps said why."""
    if error is not None:
        return Failed(error)
    if status == INTERRUPTED:
        return Stopped()
    if status == -signal.SIGKILL:
        return Killed(_KILLED)
    return failed("internal_error", f"The job ended unexpectedly with the status {status}; the worker's log says why.")


def storage_failure(error: OSError) -> Failed:
    """What it means that the worker's own files fail, or the artifact store."""
    if isinstance(error, StoreUnavailable):
        return failed("storage_unavailable", _NO_STORE)
    if is_full_disk(error):
        return Failed(DISK_FULL)
    return failed("storage_failed", _NO_STORAGE)


def out_of_memory(limit_bytes: int) -> Failed:
    """The child took more memory than a job may."""
    return failed(
        "out_of_memory",
        f"The job took more than the {limit_bytes:,} bytes of memory that it may take here; encode with a smaller "
        "`hidden_size` or fewer `kernels`.",
    )


def own_deadline_passed() -> Failed:
    """The deadline that the job was submitted with is over."""
    return failed(_DEADLINE_EXCEEDED, "The job was still running when its deadline was over.")


def deadline_passed(seconds: float) -> Failed:
    """The child ran for longer than a job may."""
    return failed(
        _DEADLINE_EXCEEDED,
        f"The job ran for longer than the {seconds:,.0f} seconds that it may run here; encode with fewer `steps` or "
        "`seconds`.",
    )
