"""A process that ends when the one that has started it ends, however that happens.

The parent keeps one end of a pipe open and gives the other to its child. The kernel closes the parent's end even after
`kill -9`; a child that starts too late finds it closed. The signal that Linux can send at the death of a parent would
come when the starting thread ends.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence


def start_bound_child(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a program, in a session of its own, that calls `end_with_parent` with its last argument."""
    watched, _ = os.pipe()
    try:
        # The other end stays open, in this process alone and to its very end.
        return subprocess.Popen(  # noqa: S603 # own programs
            [*command, str(watched)], env=environment, pass_fds=[watched], start_new_session=True
        )
    finally:
        os.close(watched)


def end_with_parent(descriptor: str) -> None:
    """Kill this process at once when its parent has ended. `descriptor` is what the parent has passed on."""
    threading.Thread(target=_watch, args=(int(descriptor),), name="parent", daemon=True).start()


def _watch(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGKILL)
