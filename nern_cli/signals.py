"""Signals that stop a command: it cleans up, then exits with a status that depends on the signal."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from nern_cli.terminal_text import print_note

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], None]


class Stopped(BaseException):
    """A signal asked the command to stop. Not an `Exception`, so that no handler treats it as a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit status that shells use."""
        return 128 + self.number

    @property
    def sentence(self) -> str:
        """The reason as a sentence."""
        return "Interrupted." if self.number == signal.SIGINT else f"Stopped by {signal.Signals(self.number).name}."


@contextmanager
def stopping_signals() -> Iterator[None]:
    """Raise `Stopped` in the main thread at each signal that stops a command."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handling(stop):
        yield


@contextmanager
def ending_signals() -> Iterator[None]:
    """End the process at the first signal that stops a command, while there is nothing to clean up.

    No exception is raised, because a library that is being loaded may not pass it on.
    """

    def end(number: int, frame: FrameType | None) -> None:
        stopped = Stopped(number)
        print_note(f"nern: {stopped.sentence}")
        os._exit(stopped.exit_code)

    with _handling(end):
        yield


@contextmanager
def stop_request(seconds: float, on_request: Callable[[], None]) -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns the received stop signal, or None.

    The first signal calls `on_request`. A second signal raises `Stopped`; so does the end of `seconds` if the context
    is still open.
    """
    received: int | None = None

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal received
        if received is not None:
            raise Stopped(number)
        received = number
        signal.setitimer(signal.ITIMER_REAL, seconds)
        on_request()

    def give_up(number: int, frame: FrameType | None) -> None:
        raise Stopped(received or signal.SIGTERM)

    with _handling(request, give_up):
        try:
            yield lambda: received
        finally:
            if received is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)


def leave_signals_to_server() -> None:
    """Restore the default handlers for a server that installs its own."""
    for number in stopping_signal_numbers():
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def stopping_signal_numbers() -> list[signal.Signals]:
    """List the signals that stop a command, except those ignored from the start, for example by `nohup`."""
    return [number for number in _STOPPING if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def _handling(handler: _Handler, alarm: _Handler | None = None) -> Iterator[None]:
    """Install handlers for the stop signals while the context is open."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[signal.Signals, _Handler] = dict.fromkeys(stopping_signal_numbers(), handler)
    if alarm is not None:
        handlers[signal.SIGALRM] = alarm
    before = {number: signal.signal(number, handle) for number, handle in handlers.items()}
    try:
        yield
    finally:
        for number, handle in before.items():
            signal.signal(number, handle)
