"""Child processes that end with their parent, however it ends.

The parent keeps one end of a pipe open and passes the other to its child. The kernel closes the parent's end even after
`kill -9`, and a child that starts too late finds it closed. Linux's own parent-death signal is not used, because it
comes when the starting thread ends.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from functools import cache


def start_bound_child(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a program in its own session. It must call `end_with_parent` with its last argument."""
    watched = _watched_end()
    return subprocess.Popen(  # noqa: S603 # own programs
        [*command, str(watched)], env=environment, pass_fds=[watched], start_new_session=True
    )


@cache
def _watched_end() -> int:
    """Return one end of the pipe of all children, so that children that are started again take no more descriptors."""
    # The other end stays open in this process only, until the process ends.
    watched, _ = os.pipe()
    return watched


def end_with_parent(descriptor: str) -> None:
    """Kill this process as soon as its parent ends. `descriptor` is the pipe that the parent passed."""
    threading.Thread(target=_watch, args=(int(descriptor),), name="parent", daemon=True).start()


def _watch(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGKILL)
