"""Exit of a stopping worker although its broker does not answer.

Celery acknowledges and gives back messages before it exits, and a broker that has stopped answering delays each call by
its timeouts. Nothing is lost without that, because rows decide about jobs, so a worker does not wait for it for long.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

_log = structlog.get_logger()
_SECONDS_WITHOUT_JOB = 4.0


class LastResort:
    """Ends the process some `seconds` after its last job, once it is to stop. `end` gets the exit status."""

    def __init__(self, seconds: float = _SECONDS_WITHOUT_JOB, end: Callable[[int], object] = os._exit) -> None:
        self._seconds = seconds
        self._end = end
        self._is_working = False
        self._changed = threading.Condition()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep the process alive while the context is open."""
        self._set_working(True)
        try:
            yield
        finally:
            self._set_working(False)

    def stop(self) -> None:
        """End the process when it has no job any more. Does not wait, so that it can be called by a signal handler."""
        # Without another thread, Celery's own exit has to do.
        with suppress(RuntimeError):
            threading.Thread(target=self._run, name="last resort", daemon=True).start()

    def _set_working(self, is_working: bool) -> None:
        with self._changed:
            self._is_working = is_working
            self._changed.notify_all()

    def _run(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_working)
            while self._changed.wait_for(lambda: self._is_working, self._seconds):
                self._changed.wait_for(lambda: not self._is_working)
        _log.warning("worker_exits_without_broker")
        sys.stderr.flush()
        self._end(0)
