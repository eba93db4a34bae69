"""Limits on a hostile runner's use of the machine, with processes that run small programs."""

import subprocess
import sys
import time
from typing import Any

import pytest

from app.jobs.models import Job, JobStatus
from tests.worker.conftest import Jobs
from tests.worker.small_child import ProgramStarter, command
from tests.worker.supervision import Clock, on, run
from worker.child import ChildProcess
from worker.folder import RunFolder
from worker.limits import Limits
from worker.outcome import FROZEN, Killed
from worker.usage import process_usage, unlinked_usage
from worker.watchdog import Watchdog

FOREVER = "\ntime.sleep(600)\n"


def run_program(jobs: Jobs, program: str, **limits: Any) -> Job:
    """Run a job whose files are limited to about five megabytes each."""
    return run(jobs, ProgramStarter(program), limits={"file_bytes": 2**20} | limits)


@pytest.mark.parametrize(
    ("program", "limits", "message"),
    [
        ("(folder / 'home' / 'x').write_bytes(bytes(12_000_000))", {}, "9,503,488 bytes of the disk"),
        (
            "file = open(folder / 'x', 'wb')\nos.unlink(file.name)\nfile.write(bytes(12_000_000))\nfile.flush()",
            {},
            "9,503,488 bytes of the disk",
        ),
        (
            """
import mmap
maps = []
for number in range(3):
    file = open(folder / str(number), "w+b")
    file.write(bytes(4_000_000))
    file.flush()
    maps.append(mmap.mmap(file.fileno(), 4096))
    os.unlink(file.name)
    file.close()
""",
            {},
            "9,503,488 bytes of the disk",
        ),
        ("os.mkdir(folder / 'x', 0)\nos.mkdir(folder / 'y')", {}, "levels of folders"),
        (
            "os.chdir(folder)\nfor _ in range(3000):\n    os.mkdir('x' * 50)\n    os.chdir('x' * 50)",
            {},
            "levels of folders",
        ),
        ("for number in range(60): (folder / str(number)).touch()", {"files": 50}, "50 files"),
        (
            "import threading\nfor _ in range(30): threading.Thread(target=time.sleep, args=(60,)).start()",
            {"threads": 20},
            "20 threads",
        ),
    ],
    ids=["a file", "a removed file", "mapped files", "a closed folder", "deep folders", "files", "threads"],
)
def test_a_job_that_takes_too_much_of_the_machine_is_stopped(
    embedded_jobs: Jobs, program: str, limits: dict[str, Any], message: str
) -> None:
    job = run_program(embedded_jobs, program + FOREVER, **limits)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "limit_exceeded")
    assert job.error_message == f"The job used more than the {message} allowed here; tell the operator."
    assert list(embedded_jobs.settings.scratch.iterdir()) == []


TAKE_MEMORY = "taken = bytearray(100 * 2**20)\n" + FOREVER
TAKE_FILES_WITHOUT_A_NAME = (
    "memory = os.memfd_create('x')\nfor _ in range(100): os.write(memory, bytes(2**20))\n" + FOREVER
)
TAKE_MEMORY_IN_A_SECOND_THREAD = """
import ctypes, platform, threading
def take():
    time.sleep(0.1)
    taken = bytearray(100 * 2**20)
    time.sleep(600)
threading.Thread(target=take).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""
TAKE_TABLES_THAT_MAP_NOTHING = (
    """
import mmap
size = 32 * 2**30
memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
for place in range(0, size, 2**21): memory[place]
"""
    + FOREVER
)


@pytest.mark.parametrize(
    "program",
    [TAKE_MEMORY, TAKE_FILES_WITHOUT_A_NAME, TAKE_MEMORY_IN_A_SECOND_THREAD, TAKE_TABLES_THAT_MAP_NOTHING],
    ids=["memory", "files without a name", "a process whose first thread has ended", "tables"],
)
def test_a_job_that_takes_too_much_memory_is_stopped(embedded_jobs: Jobs, program: str) -> None:
    job = run_program(embedded_jobs, program, memory_bytes=60 * 2**20)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "out_of_memory")
    assert job.error_message == (
        "The job used more than the 62,914,560 bytes of memory allowed here; use a smaller network, or tell the "
        "operator."
    )


def test_removed_files_count_while_other_descriptors_come_and_go(tmp_path: Any) -> None:
    program = """
import os, sys, tempfile
file = tempfile.TemporaryFile(dir=sys.argv[1])
os.dup2(file.fileno(), 200)
os.write(200, bytes(2**20))
file.close()
print(flush=True)
while True: os.close(os.dup(0))
"""
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = {unlinked_usage(process.pid, tmp_path).on_disk for _ in range(300)}
        process.kill()
    assert found == {2**20}


# Frozen runners


STOP_ITSELF = "import signal\nos.kill(os.getpid(), signal.SIGSTOP)\n"


@pytest.mark.parametrize(
    ("max_attempts", "expected"), [(3, (JobStatus.QUEUED, 1, 0, None)), (1, (JobStatus.FAILED, 1, 0, "frozen"))]
)
def test_a_runner_that_is_frozen_is_killed_and_its_job_retried(
    embedded_jobs: Jobs, max_attempts: int, expected: tuple[Any, ...]
) -> None:
    starter = ProgramStarter(STOP_ITSELF)
    job = run(embedded_jobs, starter, limits={"silence_seconds": 0.1}, max_attempts=max_attempts)
    assert (job.status, job.attempt, job.releases, job.error_code) == expected


class Watched:
    """A watchdog of a small program, on a clock of the test."""

    def __init__(self, folder: RunFolder, program: str) -> None:
        folder.make()
        self.clock = Clock()
        self.child = ChildProcess(folder, command(program))
        limits = Limits(memory_bytes=2**40, seconds=1e6, silence_seconds=10.0)
        self._watchdog = Watchdog(self.child, folder.path, limits, on(self.clock))

    def check_after(self, seconds: float) -> object:
        self.clock.now += seconds
        return self._watchdog.check()


@pytest.fixture
def folder(tmp_path: Any) -> RunFolder:
    return RunFolder(tmp_path / "job_1-1")


def test_a_runner_that_computes_and_prints_nothing_is_not_frozen(folder: RunFolder) -> None:
    watched = Watched(folder, "while True: pass\n")
    try:
        for _ in range(15):
            before = process_usage(watched.child.pid)
            while process_usage(watched.child.pid) == before:
                time.sleep(0.005)
            assert watched.check_after(1.9) is None
    finally:
        watched.child.kill()


def test_a_runner_that_prints_and_computes_nothing_is_not_frozen(folder: RunFolder) -> None:
    watched = Watched(folder, "time.sleep(600)\n")
    try:
        for _ in range(15):
            watched.child.lines.take(b"{}")
            assert watched.check_after(1.9) is None
    finally:
        watched.child.kill()


def test_time_in_which_the_supervisor_was_frozen_too_does_not_count(folder: RunFolder) -> None:
    watched = Watched(folder, "say()\ntime.sleep(600)\n")
    try:
        while not watched.child.lines.count:
            time.sleep(0.005)
        watched.check_after(1.0)
        assert watched.check_after(1e5) is None
        found = [watched.check_after(1.9) for _ in range(5)]
        assert found[-1] == Killed(FROZEN)
    finally:
        watched.child.kill()
