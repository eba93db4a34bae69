"""Faults that keep a runner from its work and are no fault of its job: broken libraries, and a missing sandbox."""

from collections.abc import Iterator
from contextlib import contextmanager

from worker.machine_faults import machine_fault_in
from worker.outcome import MISSING_LIBRARY, NO_RUNNER, NO_SANDBOX
from worker.sandbox import SandboxError


class NotPrepared(Exception):
    """The process could not become one that reads a stranger's file."""


@contextmanager
def importing() -> Iterator[None]:
    """Import what computes. Raises `NotPrepared` where libraries are missing or broken."""
    try:
        yield
    except (ImportError, OSError) as error:
        raise NotPrepared from error


def fault_of_machine(error: Exception) -> str | None:
    """Find what is wrong with the machine, by the error; None: nothing is."""
    if isinstance(error, SandboxError):
        return NO_SANDBOX
    if isinstance(error, NotPrepared):
        return machine_fault_in(error) or NO_RUNNER
    return machine_fault_in(error) or (MISSING_LIBRARY if isinstance(error, ImportError) else None)
