"""The possible outcomes of an attempt at a job."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.folder import INTERRUPTED, MACHINE_FAULT
from worker.protocol import ErrorLine


@dataclass(frozen=True, slots=True)
class Completed:
    """The results are in the store: size and digest of each by name, and the metrics for an encoding."""

    artifacts: Mapping[str, Any]
    metrics: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Failed:
    """There are no results, with the reason."""

    error: ErrorLine


@dataclass(frozen=True, slots=True)
class Killed:
    """The attempt was killed; a retry may succeed. The error is for the case that none does."""

    error: ErrorLine


@dataclass(frozen=True, slots=True)
class MachineFault:
    """The worker's machine failed, not the job: the job returns to the queue and the attempt does not count."""

    reason: str


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The job is to be canceled; the child has ended."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The worker is stopping; the child has saved a snapshot, if it could, and has ended."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """This supervisor no longer holds the job; the child has ended."""


Outcome = Completed | Failed | Killed | MachineFault | CancelRequested | Stopped | LeaseLost


class AttemptAborted(Exception):
    """The job was lost, canceled, stopped or over its limits while work was under way; `outcome` says which."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


_KILLED = ErrorLine(
    code="killed",
    message="The job was killed repeatedly, most likely because the worker's machine ran out of memory; use a smaller "
    "network, or tell the operator.",
)
FROZEN = ErrorLine(
    code="frozen",
    message="The job froze repeatedly: for a minute it neither computed nor reported anything. Tell the operator.",
)
# Another job with identical results was deleted at that moment.
RESULTS_REMOVED = Killed(
    ErrorLine(code="results_removed", message="The results were removed before the job ended; submit it again.")
)
# Faults other than of the disk: the runner does not start, or cannot confine itself as the operator requires.
NO_RUNNER, NO_SANDBOX, MISSING_LIBRARY = "no_runner", "no_sandbox", "missing_library"
_NO_LIBRARY = "A library that the job needs is missing or broken on its worker; tell the operator, who has the log."
# Signals from a machine that shuts down, is at a limit, or cannot read a mapped file.
_SIGNALS_OF_THE_MACHINE = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU, signal.SIGBUS}
)
_NO_ROOM = (
    "The worker repeatedly failed to write the job's files; the job may be too large for its disk. Tell the "
    "operator, whose log has the details."
)
_DEADLINE_EXCEEDED = "deadline_exceeded"


def failed(code: str, message: str) -> Failed:
    """Create a failure with this code and message."""
    return Failed(ErrorLine(code=code, message=message))


def failure_of(
    status: int, error: ErrorLine | None, lines: int, *, has_read: bool
) -> Failed | Killed | MachineFault | Stopped:
    """Return the outcome for a child that exited with `status` other than 0 after `lines` lines of output.

    A child that has begun to read the untrusted file is not believed when it reports that it could not start.
    """
    if error is not None:
        is_believed = status == MACHINE_FAULT and not (has_read and error.code in {NO_RUNNER, NO_SANDBOX})
        return MachineFault(error.code) if is_believed else Failed(error)
    if status == INTERRUPTED:
        return Stopped()
    if status == -signal.SIGKILL:
        return Killed(_KILLED)
    if not lines:
        # It prints a line before it opens the untrusted file, so an earlier failure is not the file's fault.
        return MachineFault(NO_RUNNER)
    if -status in _SIGNALS_OF_THE_MACHINE:
        return Killed(_KILLED)
    return failed("internal_error", f"The job ended unexpectedly with status {status}; see the worker's log.")


def results_not_storable() -> Failed:
    """Return the failure for results that the database refuses."""
    return failed("internal_error", "The results of the job could not be stored; see the worker's log.")


def store_unavailable() -> Failed:
    """Return the failure for an artifact store that did not answer while the worker waited."""
    return failed(
        "storage_unavailable",
        "The artifact store did not answer the worker for a long time; submit the job again, or tell the operator.",
    )


def machine_fault_repeated(fault: MachineFault) -> Killed:
    """Return the outcome for a job with repeated faults on a healthy machine, which may be too small for the job."""
    return Killed(ErrorLine(code=fault.reason, message=_NO_LIBRARY if fault.reason == MISSING_LIBRARY else _NO_ROOM))


def limit_exceeded(limit: str) -> Failed:
    """Return the failure for a child that exceeded a limit."""
    return failed("limit_exceeded", f"The job used more than the {limit} allowed here; tell the operator.")


def out_of_memory(limit_bytes: int) -> Failed:
    """Return the failure for a child that exceeded its memory."""
    return failed(
        "out_of_memory",
        f"The job used more than the {limit_bytes:,} bytes of memory allowed here; use a smaller network, or tell the "
        "operator.",
    )


def results_too_large() -> Failed:
    """Return the failure for results larger than the space reserved for them."""
    return failed(
        "results_too_large",
        "The results are larger than expected for this file and were not kept; tell the operator.",
    )


def own_deadline_passed() -> Failed:
    """Return the failure for a job whose own deadline has passed."""
    return failed(_DEADLINE_EXCEEDED, "The job was still running when its deadline passed.")


def deadline_passed(seconds: float) -> Failed:
    """Return the failure for a child that exceeded the time limit of all jobs."""
    return failed(
        _DEADLINE_EXCEEDED,
        f"The job ran longer than the {seconds:,.0f} seconds allowed here; encode with fewer `steps` or `seconds`.",
    )
