"""Faults of the worker's machine do not fail jobs: the job returns to the queue, and the worker pauses."""

import errno
import os
import shutil
import signal
import threading
from collections.abc import Callable, Generator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from structlog.testing import capture_logs

from app.jobs.events.models import EventKind
from app.jobs.events.repository import EventRepository
from app.jobs.models import Job, JobStatus
from app.storage.folder import FolderStore
from app.workers.repository import WorkerRepository
from tests.small_disks import fill, needs_mounts, small_disk
from tests.worker.conftest import Jobs
from tests.worker.scripted_child import (
    ScriptedChild,
    end_with,
    fail,
    succeed,
)
from tests.worker.small_child import ProgramStarter
from tests.worker.supervision import Clock, fast, on, run, supervisor
from worker.machine_faults import machine_fault_in

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def queued_because_of(jobs: Jobs, job_id: str) -> list[str | None]:
    """Return the reason for each time that the job was queued."""
    with jobs.sessions.begin() as session:
        events = EventRepository(session).page(job_id, 0, 100)
    return [event.data.get("reason") for event in events if event.kind == EventKind.QUEUED]


def state(job: Job) -> tuple[str, int, int]:
    return job.status, job.attempt, job.releases


def stops_at(clock: Clock, seconds: float) -> Callable[[], bool]:
    until = clock.now + seconds
    return lambda: clock.now > until


@needs_mounts
@pytest.mark.parametrize(
    ("size", "options", "reason"),
    [("256k", "", "disk_full"), ("64m", ",ro", "disk_read_only"), ("64m", ",nr_inodes=50", "disk_full")],
    ids=["full", "ro", "few files"],
)
def test_a_worker_whose_scratch_folder_is_unusable_claims_nothing_and_says_why(
    embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, options: str, reason: str
) -> None:
    job_id = embedded_jobs.submit()
    clock = Clock()
    reported: list[str] = []
    note_unfit = WorkerRepository.note_unfit

    def note(self: WorkerRepository, worker: str, reason: str) -> None:
        note_unfit(self, worker, reason)
        reported.append(next(iter(self.unfit())))

    monkeypatch.setattr(WorkerRepository, "note_unfit", note)
    with small_disk(tmp_path / "scratch", size, options), capture_logs() as logged:
        stopping, scratch = stops_at(clock, 10), tmp_path / "scratch"
        job = run(embedded_jobs, succeed, job_id, stopping=stopping, timing=on(clock), scratch_dir=scratch)
    assert state(job) == (JobStatus.QUEUED, 0, 0)
    assert job.announce_at is not None
    assert job.announce_at > job.created_at
    assert {entry["reason"] for entry in logged if entry["event"] == "worker_unfit"} == set(reported) == {reason}
    with embedded_jobs.sessions.begin() as session:
        assert WorkerRepository(session).unfit() == {}


@needs_mounts
def test_a_worker_works_again_as_soon_as_there_is_room(embedded_jobs: Jobs, tmp_path: Path) -> None:
    with small_disk(tmp_path / "scratch", "64m"), capture_logs() as logged:
        ballast = fill(tmp_path / "scratch")

        def stopping() -> bool:
            """Make room once the worker waits."""
            if any(entry["event"] == "worker_unfit" for entry in logged):
                ballast.unlink(missing_ok=True)
            return False

        timing = fast(first_pause=0.01)
        job = run(embedded_jobs, succeed, stopping=stopping, timing=timing, scratch_dir=tmp_path / "scratch")
    assert state(job) == (JobStatus.SUCCEEDED, 1, 0)
    assert [entry["event"] for entry in logged if entry["event"].startswith("worker_")] == [
        "worker_unfit",
        "worker_fit",
    ]


def test_results_wait_for_room(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = embedded_jobs.submit()
    put, calls = FolderStore.put, count()

    def full_at_first(self: FolderStore, source: Path) -> Any:
        if next(calls) < 2:
            raise FULL
        return put(self, source)

    monkeypatch.setattr(FolderStore, "put", full_at_first)
    assert state(run(embedded_jobs, succeed, job_id)) == (JobStatus.SUCCEEDED, 1, 0)


def test_a_job_whose_results_find_no_room_goes_back_and_loses_no_attempt(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, job_id = Clock(), embedded_jobs.submit()

    def full(*arguments: Any) -> None:
        raise FULL

    monkeypatch.setattr(FolderStore, "put", full)
    lease = timedelta(days=1)
    job = run(embedded_jobs, succeed, job_id, timing=on(clock, between_store_retries=50), lease=lease)
    # It waits for ten minutes.
    assert clock.now == 1650.0
    assert (state(job), job.error_code) == ((JobStatus.QUEUED, 1, 1), None)
    assert queued_because_of(embedded_jobs, job_id) == [None, "machine_fault"]


def test_a_job_whose_runner_meets_a_fault_of_the_machine_goes_back(
    embedded_jobs: Jobs,
) -> None:
    job = run(embedded_jobs, fail("disk_error", status=74))
    assert (state(job), job.error_code) == ((JobStatus.QUEUED, 1, 1), None)


def test_a_fault_that_comes_again_and_again_on_a_sound_machine_costs_attempts(
    embedded_jobs: Jobs,
) -> None:
    jobs, job_id = embedded_jobs, embedded_jobs.submit()
    worker = supervisor(jobs, fail("disk_full", status=74), max_attempts=1)
    seen = []
    for _ in range(3):
        worker.run(job_id)
        seen.append(state(jobs.get(job_id)))
    assert seen == [(JobStatus.QUEUED, 1, 1), (JobStatus.QUEUED, 2, 2), (JobStatus.FAILED, 3, 2)]
    assert jobs.get(job_id).error_code == "disk_full"


@needs_mounts
def test_a_worker_rests_after_a_fault_of_its_machine(embedded_jobs: Jobs, tmp_path: Path) -> None:
    clock = Clock()
    ballast, scratch = tmp_path / "disk" / "ballast", tmp_path / "disk" / "scratch"
    starts: list[float] = []

    def fill_disk(child: ScriptedChild) -> Generator[None, None, int | None]:
        starts.append(clock.now)
        if len(starts) > 1:
            yield from succeed(child)
            return 0
        ballast.write_bytes(bytes(shutil.disk_usage(child.folder.path).free))
        return (yield from fail("disk_full", status=74)(child))

    first, second = embedded_jobs.submit(), embedded_jobs.submit()
    with small_disk(tmp_path / "disk", "64m"):
        worker = supervisor(embedded_jobs, fill_disk, timing=on(clock, first_pause=30.0), scratch_dir=scratch)
        worker.run(first)
        ballast.unlink()
        worker.run(second)
    assert state(embedded_jobs.get(first)) == (JobStatus.QUEUED, 1, 1)
    assert state(embedded_jobs.get(second)) == (JobStatus.SUCCEEDED, 1, 0)
    assert starts[1] - starts[0] == pytest.approx(30, abs=0.3)


def test_a_worker_whose_runner_does_not_start_gives_the_job_back_and_rests(
    embedded_jobs: Jobs,
) -> None:
    jobs, first, second, clock = embedded_jobs, embedded_jobs.submit(), embedded_jobs.submit(), Clock()
    starter = ProgramStarter("import a_library_that_is_missing\n")
    worker = supervisor(jobs, starter, stops_at(clock, 20), on(clock, first_pause=30.0))
    worker.run(first)
    worker.run(second)
    assert state(jobs.get(first)) == (JobStatus.QUEUED, 1, 1)
    assert queued_because_of(jobs, first) == [None, "machine_fault"]
    job = jobs.get(second)
    assert job.announce_at is not None
    assert job.announce_at > job.created_at


def end_silently(child: ScriptedChild) -> Generator[None, None, int]:
    yield
    return 1


def test_no_job_fails_for_a_runner_that_never_starts(
    embedded_jobs: Jobs,
) -> None:
    jobs, job_id, clock = embedded_jobs, embedded_jobs.submit(), Clock()
    worker = supervisor(jobs, end_silently, timing=on(clock), max_attempts=1)
    for _ in range(4):
        worker.run(job_id)
    assert state(jobs.get(job_id)) == (JobStatus.QUEUED, 4, 4)


@pytest.mark.parametrize("thread", ["heartbeat", "runner lines", "runner log"])
def test_a_machine_without_room_for_a_thread_gives_the_job_back(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == thread:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert state(run(embedded_jobs, ProgramStarter("time.sleep(600)\n"))) == (JobStatus.QUEUED, 1, 1)


def test_a_machine_without_room_for_a_process_gives_the_job_back_and_rests(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("worker.child.subprocess.Popen", refuse)
    jobs, job_id, clock = embedded_jobs, embedded_jobs.submit(), Clock()
    worker = supervisor(jobs, ProgramStarter(""), stops_at(clock, 20), on(clock, first_pause=30.0))
    worker.run(job_id)
    with capture_logs() as logged:
        worker.run(job_id)
    assert state(jobs.get(job_id)) == (JobStatus.QUEUED, 1, 1)
    assert {entry["reason"] for entry in logged if entry["event"] == "worker_unfit"} == {"no_runner"}


@pytest.mark.parametrize("name", ["SIGBUS", "SIGTERM", "SIGXCPU"])
def test_a_runner_that_the_machine_ends_by_a_signal_is_tried_again(embedded_jobs: Jobs, name: str) -> None:
    assert state(run(embedded_jobs, end_with(-signal.Signals[name]))) == (JobStatus.QUEUED, 1, 0)


def copied_to_a_full_disk() -> BaseException:
    return shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")])


def caused_by(cause: Exception) -> BaseException:
    error = RuntimeError("the file could not be written")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FULL, "disk_full"),
        (OSError(errno.EDQUOT, "quota"), "disk_full"),
        (OSError(errno.EROFS, "ro"), "disk_read_only"),
        (OSError(errno.EIO, "io"), "disk_error"),
        (copied_to_a_full_disk(), "disk_full"),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk_full"),
        (caused_by(FULL), "disk_full"),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (OSError(errno.EFBIG, "File too large"), None),
        (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), None),
        (ValueError("odd"), None),
    ],
)
def test_a_fault_of_the_machine_is_known_by_its_number_wherever_it_surfaces(
    error: BaseException, reason: str | None
) -> None:
    assert machine_fault_in(error) == reason


@needs_mounts
def test_safetensors_still_says_it_in_these_words(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "16k"), pytest.raises(SafetensorError) as raised:
        save_file({"a": torch.zeros(50_000)}, tmp_path / "disk" / "a")
    assert machine_fault_in(raised.value) == "disk_full"
