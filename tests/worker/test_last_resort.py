import threading
import time

import pytest

from worker.last_resort import LastResort


class Process:
    """Records its exit status."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.status: int | None = None

    def end(self, status: int) -> None:
        self.status = status
        self.ended.set()


@pytest.fixture
def process() -> Process:
    return Process()


def test_a_stopping_process_ends_though_it_hangs(process: Process) -> None:
    LastResort(0.01, process.end).stop()
    assert process.ended.wait(10)
    assert process.status == 0


def test_it_ends_only_after_its_job(process: Process) -> None:
    last = LastResort(0.01, process.end)
    with last.working():
        last.stop()
        time.sleep(0.1)
        assert not process.ended.is_set()
    assert process.ended.wait(10)


def test_a_process_that_is_not_to_stop_goes_on(process: Process) -> None:
    with LastResort(0.01, process.end).working():
        pass
    assert not process.ended.wait(0.1)
