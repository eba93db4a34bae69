"""Limits that every Linux process can set on itself."""

import resource

from worker.sandbox.kernel import prctl

_PR_SET_NO_NEW_PRIVS = 38
# Most open files. Each pipe takes memory that no limit counts.
_MOST_OPEN_FILES = 512


def limit_resources(memory_bytes: int | None, file_bytes: int | None) -> None:
    """Limit the memory that the process can allocate and the size of files that it writes.

    Also disable core dumps and message queues.

    Allocations beyond the limit fail; Python and torch raise errors for them. Mapped files, libraries and merely
    reserved memory do not count.
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
    """Prevent programs started from now on from gaining privileges, such as those of a set-user-id file."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
