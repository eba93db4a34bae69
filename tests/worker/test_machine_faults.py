"""Faults of the worker's machine do not fail jobs: the job returns to the queue, and the worker pauses."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
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
from tests.worker.fake_runner import LEAVE_RESULTS, METRICS, replace_runner
from worker.machine_faults import machine_fault_in
from worker.supervisor import Supervisor

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def queued_because_of(jobs: Jobs, job_id: str) -> list[str | None]:
    """Return the reason for each time that the job was queued."""
    with jobs.sessions.begin() as session:
        events = EventRepository(session).page(job_id, 0, 100)
    return [event.data.get("reason") for event in events if event.kind == EventKind.QUEUED]


def state(job: Job) -> tuple[str, int, int]:
    return job.status, job.attempt, job.releases


def stops_after(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


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
    settings = embedded_jobs.settings.model_copy(update={"scratch_dir": tmp_path / "scratch"})
    reported: list[str] = []
    note_unfit = WorkerRepository.note_unfit

    def note(self: WorkerRepository, worker: str, reason: str) -> None:
        note_unfit(self, worker, reason)
        reported.append(next(iter(self.unfit())))

    monkeypatch.setattr(WorkerRepository, "note_unfit", note)
    with small_disk(tmp_path / "scratch", size, options), capture_logs() as logged:
        Supervisor(settings, embedded_jobs.sessions, embedded_jobs.store, stops_after(0.5)).run(job_id)
    job = embedded_jobs.get(job_id)
    assert state(job) == (JobStatus.QUEUED, 0, 0)
    assert job.announce_at is not None
    assert job.announce_at > job.created_at
    assert {entry["reason"] for entry in logged if entry["event"] == "worker_unfit"} == set(reported) == {reason}
    with embedded_jobs.sessions.begin() as session:
        assert WorkerRepository(session).unfit() == {}


@needs_mounts
def test_a_worker_works_again_as_soon_as_there_is_room(
    embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_runner(METRICS + LEAVE_RESULTS, tmp_path, monkeypatch)
    settings = embedded_jobs.settings.model_copy(update={"scratch_dir": tmp_path / "scratch"})
    job_id = embedded_jobs.submit()
    with small_disk(tmp_path / "scratch", "64m"):
        ballast = fill(tmp_path / "scratch")
        threading.Timer(0.5, ballast.unlink).start()
        Supervisor(settings, embedded_jobs.sessions, embedded_jobs.store, lambda: False).run(job_id)
    assert state(embedded_jobs.get(job_id)) == (JobStatus.SUCCEEDED, 1, 0)


def supervise(jobs: Jobs, job_id: str) -> Job:
    Supervisor(jobs.settings, jobs.sessions, jobs.store, lambda: False).run(job_id)
    return jobs.get(job_id)


def test_results_wait_for_room(embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_runner(METRICS + LEAVE_RESULTS, tmp_path, monkeypatch)
    monkeypatch.setattr("worker.patience._SECONDS_BETWEEN_TRIES", 0.1)
    job_id = embedded_jobs.submit()
    put, calls = FolderStore.put, count()

    def full_at_first(self: FolderStore, source: Path) -> Any:
        if next(calls) < 2:
            raise FULL
        return put(self, source)

    monkeypatch.setattr(FolderStore, "put", full_at_first)
    assert state(supervise(embedded_jobs, job_id)) == (JobStatus.SUCCEEDED, 1, 0)


def test_a_job_whose_results_find_no_room_goes_back_and_loses_no_attempt(
    embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_runner(METRICS + LEAVE_RESULTS, tmp_path, monkeypatch)
    monkeypatch.setattr("worker.patience._SECONDS_TO_WAIT_FOR_ROOM", 0.0)
    job_id = embedded_jobs.submit()

    def full(*arguments: Any) -> None:
        raise FULL

    monkeypatch.setattr(FolderStore, "put", full)
    job = supervise(embedded_jobs, job_id)
    assert (state(job), job.error_code) == ((JobStatus.QUEUED, 1, 1), None)
    assert queued_because_of(embedded_jobs, job_id) == [None, "machine_fault"]


def test_a_job_whose_runner_meets_a_fault_of_the_machine_goes_back(
    embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_runner('say(error={"code": "disk_error", "message": "."})\nsys.exit(74)\n', tmp_path, monkeypatch)
    job = supervise(embedded_jobs, embedded_jobs.submit())
    assert (state(job), job.error_code) == ((JobStatus.QUEUED, 1, 1), None)


def test_a_fault_that_comes_again_and_again_on_a_sound_machine_costs_attempts(
    embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_runner('say(error={"code": "disk_full", "message": "."})\nsys.exit(74)\n', tmp_path, monkeypatch)
    jobs, job_id = embedded_jobs, embedded_jobs.submit()
    settings = jobs.settings.model_copy(update={"max_attempts": 1})
    supervisor = Supervisor(settings, jobs.sessions, jobs.store, lambda: False)
    seen = []
    for _ in range(3):
        supervisor.run(job_id)
        seen.append(state(jobs.get(job_id)))
    assert seen == [(JobStatus.QUEUED, 1, 1), (JobStatus.QUEUED, 2, 2), (JobStatus.FAILED, 3, 2)]
    assert jobs.get(job_id).error_code == "disk_full"


@needs_mounts
def test_a_worker_rests_after_a_fault_of_its_machine(
    embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import shutil\n(folder / '../../ballast').write_bytes(bytes(shutil.disk_usage(folder).free))\n"
    program += 'say(error={"code": "disk_full", "message": "."})\nsys.exit(74)\n'
    replace_runner(program, tmp_path, monkeypatch)
    settings = embedded_jobs.settings.model_copy(update={"scratch_dir": tmp_path / "disk" / "scratch"})
    first, second = embedded_jobs.submit(), embedded_jobs.submit()
    with small_disk(tmp_path / "disk", "64m"):
        supervisor = Supervisor(settings, embedded_jobs.sessions, embedded_jobs.store, stops_after(3))
        supervisor.run(first)
        (tmp_path / "disk" / "ballast").unlink()
        started = time.monotonic()
        supervisor.run(second)
    assert state(embedded_jobs.get(first)) == (JobStatus.QUEUED, 1, 1)
    assert time.monotonic() - started > 0.9


def test_a_worker_whose_runner_does_not_start_gives_the_job_back_and_rests(
    embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_runner("import a_library_that_is_missing\n", tmp_path, monkeypatch)
    jobs, first, second = embedded_jobs, embedded_jobs.submit(), embedded_jobs.submit()
    supervisor = Supervisor(jobs.settings, jobs.sessions, jobs.store, stops_after(2))
    supervisor.run(first)
    supervisor.run(second)
    assert state(jobs.get(first)) == (JobStatus.QUEUED, 1, 1)
    assert queued_because_of(jobs, first) == [None, "machine_fault"]
    job = jobs.get(second)
    assert job.announce_at is not None
    assert job.announce_at > job.created_at


def test_no_job_fails_for_a_runner_that_never_starts(
    embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_runner("import a_library_that_is_missing\n", tmp_path, monkeypatch)
    monkeypatch.setattr("worker.machine_health._LONGEST_PAUSE", 0.0)
    monkeypatch.setattr("worker.machine_health._FIRST_PAUSE", 0.0)
    jobs, job_id = embedded_jobs, embedded_jobs.submit()
    settings = jobs.settings.model_copy(update={"max_attempts": 1})
    supervisor = Supervisor(settings, jobs.sessions, jobs.store, lambda: False)
    for _ in range(4):
        supervisor.run(job_id)
    assert state(jobs.get(job_id)) == (JobStatus.QUEUED, 4, 4)


@pytest.mark.parametrize("thread", ["heartbeat", "runner lines", "runner log"])
def test_a_machine_without_room_for_a_thread_gives_the_job_back(
    embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    replace_runner("time.sleep(600)\n", tmp_path, monkeypatch)
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == thread:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert state(supervise(embedded_jobs, embedded_jobs.submit())) == (JobStatus.QUEUED, 1, 1)


def test_a_machine_without_room_for_a_process_gives_the_job_back_and_rests(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("worker.caches.Caches.copy_to", lambda caches, target: target.mkdir())
    monkeypatch.setattr("worker.child.subprocess.Popen", refuse)
    jobs, job_id = embedded_jobs, embedded_jobs.submit()
    supervisor = Supervisor(jobs.settings, jobs.sessions, jobs.store, stops_after(1))
    supervisor.run(job_id)
    with capture_logs() as logged:
        supervisor.run(job_id)
    assert state(jobs.get(job_id)) == (JobStatus.QUEUED, 1, 1)
    assert {entry["reason"] for entry in logged if entry["event"] == "worker_unfit"} == {"no_runner"}


@pytest.mark.parametrize("name", ["SIGBUS", "SIGTERM", "SIGXCPU"])
def test_a_runner_that_the_machine_ends_by_a_signal_is_tried_again(
    embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    program = f'import signal\nsay(progress={{"phase": "starting"}})\nos.kill(os.getpid(), signal.{name})\n'
    replace_runner(program, tmp_path, monkeypatch)
    assert state(supervise(embedded_jobs, embedded_jobs.submit())) == (JobStatus.QUEUED, 1, 0)


def test_the_start_of_an_attempt_is_told_by_a_clock_that_nobody_sets(
    embedded_jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = 'passed = time.perf_counter() - json.loads((folder / "spec.json").read_text())["started"]\n'
    program += 'say(error={"code": "soon" if 0 <= passed < 60 else "never", "message": "."})\nsys.exit(1)\n'
    replace_runner(program, tmp_path, monkeypatch)
    assert supervise(embedded_jobs, embedded_jobs.submit()).error_code == "soon"


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
