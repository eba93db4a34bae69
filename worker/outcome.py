"""The possible outcomes of an attempt at a job."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.folder import INTERRUPTED, MACHINE_FAULT
from worker.protocol import ErrorLine


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
    """The attempt was cut off; another one may come through. The error is for when none does."""

    error: ErrorLine


@dataclass(frozen=True, slots=True)
class MachineFault:
    """The worker's machine has failed, not the job: it goes back to the queue and has lost no attempt."""

    reason: str


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody asked to cancel the job; the child is gone."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The worker is stopping; the child has saved its state, if it could, and is gone."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The job is no longer this supervisor's; the child is gone."""


Outcome = Completed | Failed | Killed | MachineFault | CancelRequested | Stopped | LeaseLost

_KILLED = ErrorLine(
    code="killed",
    message="The job was killed again and again, most likely because the worker's machine ran out of memory; encode "
    "with a smaller `hidden_size`, or tell the operator.",
)
FROZEN = ErrorLine(
    code="frozen",
    message="The job stood still again and again: for a minute it neither computed nor reported anything. Tell the "
    "operator.",
)
# Somebody has just deleted a job with the very same results.
RESULTS_REMOVED = Killed(
    ErrorLine(code="results_removed", message="The results were removed before the job had ended; submit it again.")
)
# Faults that are not the disk's: the runner does not start, or cannot confine itself as the operator requires.
NO_RUNNER, NO_SANDBOX, MISSING_LIBRARY = "no_runner", "no_sandbox", "missing_library"
_NO_LIBRARY = "A library that the job needs is missing or broken on its worker; tell the operator, whose log says more."
# What a machine sends that shuts down, is at a limit, or cannot read a file that is mapped.
_SIGNALS_OF_THE_MACHINE = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU, signal.SIGBUS}
)
_NO_ROOM = (
    "The worker could not write the job's files, again and again; the job may be too large for its disk. Tell the "
    "operator, whose log says more."
)
_DEADLINE_EXCEEDED = "deadline_exceeded"


def failed(code: str, message: str) -> Failed:
    """A failure with this code and sentence."""
    return Failed(ErrorLine(code=code, message=message))


def failure_of(
    status: int, error: ErrorLine | None, lines: int, *, has_read: bool
) -> Failed | Killed | MachineFault | Stopped:
    """Return the outcome for a child that ended with a status other than 0, after this many lines.

    One that has begun to read a stranger's file is not believed that it could not start.
    """
    if error is not None:
        is_believed = status == MACHINE_FAULT and not (has_read and error.code in {NO_RUNNER, NO_SANDBOX})
        return MachineFault(error.code) if is_believed else Failed(error)
    if status == INTERRUPTED:
        return Stopped()
    if status == -signal.SIGKILL:
        return Killed(_KILLED)
    if not lines:
        # It prints one before it opens a stranger's file: what keeps it from that is no fault of the file.
        return MachineFault(NO_RUNNER)
    if -status in _SIGNALS_OF_THE_MACHINE:
        return Killed(_KILLED)
    return failed("internal_error", f"The job ended unexpectedly with the status {status}; the worker's log says why.")


def results_not_storable() -> Failed:
    """The database refuses what the child has left."""
    return failed("internal_error", "The results of the job could not be stored; the worker's log says why.")


def store_unavailable() -> Failed:
    """The artifact store has not answered for as long as a worker waits for it."""
    return failed(
        "storage_unavailable",
        "The artifact store did not answer the worker for a long time; submit the job again, or tell the operator.",
    )


def machine_failed_again(fault: MachineFault) -> Killed:
    """The job meets the same fault again and again on a machine that looks well: it may be too large for it."""
    return Killed(ErrorLine(code=fault.reason, message=_NO_LIBRARY if fault.reason == MISSING_LIBRARY else _NO_ROOM))


def took_too_much(what: str) -> Failed:
    """The child took more of something than a job may."""
    return failed("limit_exceeded", f"The job took more than the {what} that it may take here; tell the operator.")


def out_of_memory(limit_bytes: int) -> Failed:
    """The child took more memory than a job may."""
    return failed(
        "out_of_memory",
        f"The job took more than the {limit_bytes:,} bytes of memory that it may take here; encode with a smaller "
        "`hidden_size` or fewer `kernels`.",
    )


def results_too_large() -> Failed:
    """The child left more bytes of results than were reserved for them."""
    return failed(
        "results_too_large",
        "The results take more bytes than were expected of this file, so they were not kept; tell the operator.",
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
