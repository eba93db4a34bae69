"""Limits that every Linux process can put on itself."""

import resource

from worker.sandbox.kernel import prctl

_PR_SET_NO_NEW_PRIVS = 38
# What is open at once. Each pipe takes memory that no limit counts.
_MOST_OPEN_FILES = 512


def limit_resources(memory_bytes: int | None, file_bytes: int | None) -> None:
    """Limit the memory that the process may allocate and the size of the files that it writes.

    It leaves no core dumps and has no message queues.

    Allocations beyond the limit fail, which Python and torch raise as errors. Files, libraries and what is only
    reserved do not count.
    """
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _MOST_OPEN_FILES,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_DATA: memory_bytes,
        resource.RLIMIT_FSIZE: file_bytes,
    }
    for limit, value in limits.items():
        if value is not None:
            _, hard = resource.getrlimit(limit)
            wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(limit, (wanted, wanted))


def forbid_new_privileges() -> None:
    """No program that is started from now on gains privileges, such as those of a set-user-id file."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
