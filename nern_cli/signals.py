"""Signals that stop a command: every one ends it with an exit status of its own, after it has cleaned up."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], None]


class Stopped(BaseException):
    """A signal has asked the command to stop. No `Exception`, so that nothing takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """Return the exit status that shells use."""
        return 128 + self.number

    @property
    def sentence(self) -> str:
        """Say what has happened."""
        return "Interrupted." if self.number == signal.SIGINT else f"Stopped by {signal.Signals(self.number).name}."


@contextmanager
def stopping_signals() -> Iterator[None]:
    """Raise `Stopped` in the main thread at every signal that stops a command."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with _handling(stop):
        yield


@contextmanager
def stop_request(seconds: float, on_request: Callable[[], None]) -> Iterator[Callable[[], int | None]]:
    """Give a function that tells the signal that has asked to stop, or None.

    The first signal calls `on_request`. A second one raises `Stopped`, and so does the end of the `seconds` if the
    context has not been left by then.
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
    """Give the signals back to a server that has handlers of its own."""
    for number in stopping_signal_numbers():
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def stopping_signal_numbers() -> list[signal.Signals]:
    """List the signals that stop a command, but for those that it was started to ignore, as by `nohup`."""
    return [number for number in _STOPPING if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def _handling(handler: _Handler, alarm: _Handler | None = None) -> Iterator[None]:
    """Handle the signals that stop a command meanwhile."""
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
