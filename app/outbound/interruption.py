"""Ends requests of other threads whose answers are no longer needed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.outbound.errors import OutboundError


class Interruption:
    """Interrupts the requests that are made with it, those that are under way and those that would begin later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: list[Callable[[], None]] = []
        self._happened = False

    def happen(self) -> None:
        """Interrupt the requests, from any thread."""
        with self._lock:
            self._happened = True
            for end in self._ends:
                end()

    def check(self) -> None:
        """Raise `OutboundError` after `happen`."""
        if self._happened:
            raise OutboundError("The request was interrupted; try again.")

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Call `end` if the interruption happens within the `with`. Raises `OutboundError` if it has happened."""
        with self._lock:
            self.check()
            self._ends.append(end)
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(end)
