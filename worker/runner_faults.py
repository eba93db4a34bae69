"""Faults that prevent a runner from working and are not the job's fault: broken libraries, a missing sandbox."""

from collections.abc import Iterator
from contextlib import contextmanager

from worker.machine_faults import machine_fault_in
from worker.outcome import MISSING_LIBRARY, NO_RUNNER, NO_SANDBOX
from worker.sandbox import SandboxError


class NotPrepared(Exception):
    """The process could not be prepared for reading an untrusted file."""


@contextmanager
def importing() -> Iterator[None]:
    """Raise `NotPrepared` if an import in the context fails because libraries are missing or broken."""
    try:
        yield
    except (ImportError, OSError) as error:
        raise NotPrepared from error


def fault_of_machine(error: Exception) -> str | None:
    """Return the machine fault behind an error; None if there is none."""
    if isinstance(error, SandboxError):
        return NO_SANDBOX
    if isinstance(error, NotPrepared):
        return machine_fault_in(error) or NO_RUNNER
    return machine_fault_in(error) or (MISSING_LIBRARY if isinstance(error, ImportError) else None)
