"""Run hostile code as the runner: whatever it does, its job ends and the supervisor survives."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from sqlalchemy.exc import DataError
from structlog.testing import capture_logs

from app.jobs.models import Job, JobStatus
from app.jobs.repository import JobRepository
from app.jobs.snapshots.store import SnapshotFolder
from app.settings import Settings
from app.storage import ArtifactStore, StoredArtifact
from tests.worker.conftest import Jobs
from tests.worker.fake_runner import LEAVE_RESULTS, METRICS, replace_runner
from worker.folder import RunFolder
from worker.limits import Limits
from worker.supervisor import Supervisor
from worker.usage import unlinked_usage

FOREVER = "\ntime.sleep(600)\n"


def run(
    jobs: Jobs, program: str, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any] | None = None, **settings: Any
) -> Job:
    """Run a job with this program as its runner; return the job after the attempt."""
    replace_runner(program, jobs.settings.data_dir, monkeypatch)
    monkeypatch.setattr("worker.limits._MOST_SMALL_FILE_BYTES", 2**20)
    of = Limits.of
    monkeypatch.setattr(Limits, "of", lambda settings: replace(of(settings), **(limits or {})))
    job_id = jobs.submit()
    Supervisor(jobs.settings.model_copy(update=settings), jobs.sessions, jobs.store, lambda: False).run(job_id)
    return jobs.get(job_id)


def test_control_characters_in_an_error_are_escaped(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    program = 'say(error={"code": "bad_data", "message": "a\\0b\\x1b[31m\\u202e."})\nsys.exit(1)\n'
    job = run(jobs, program, monkeypatch)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "bad_data")
    assert job.error_message == "a\\x00b\\x1b[31m\\u202e."


@pytest.mark.parametrize(
    "change",
    ['metrics["ratio"] = float("nan")', 'metrics["seconds"]["total"] = 1e999', 'metrics["kept_bytes"] = 10**30'],
)
def test_metrics_that_no_row_can_hold_fail_the_job(jobs: Jobs, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    job = run(jobs, f"{METRICS}\n{change}\n{LEAVE_RESULTS}", monkeypatch)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "internal_error")
    assert job.error_message == "The job's results are missing or invalid; see the worker's log."


def test_text_in_metrics_is_escaped(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job = run(jobs, f'{METRICS}\nmetrics["seconds"]["a\\0b"] = 2.0\n{LEAVE_RESULTS}', monkeypatch)
    assert job.status == JobStatus.SUCCEEDED
    assert (job.metrics or {})["seconds"].keys() == {"total", "publication", "a\\x00b"}


def test_the_seconds_of_a_job_include_the_storing_of_its_results(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_put(store: ArtifactStore, path: Path) -> StoredArtifact:
        time.sleep(0.2)
        return put(store, path)

    put = type(embedded_jobs.store).put
    monkeypatch.setattr(type(embedded_jobs.store), "put", slow_put)
    job = run(embedded_jobs, f"{METRICS}\n{LEAVE_RESULTS}", monkeypatch)
    seconds = (job.metrics or {})["seconds"]
    assert seconds["publication"] >= 5 * 0.2
    assert seconds["total"] == pytest.approx(1.0 + seconds["publication"], abs=0.002)


def test_metrics_without_end_fail_the_job(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    change = 'metrics["seconds"].update({str(number): 1.0 for number in range(20000)})'
    job = run(embedded_jobs, f"{METRICS}\n{change}\n{LEAVE_RESULTS}", monkeypatch)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "internal_error")


def test_a_job_that_leaves_no_results_fails(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job = run(embedded_jobs, "", monkeypatch)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "internal_error")


def test_results_that_the_database_refuses_fail_the_job(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> bool:
        raise DataError("UPDATE jobs", {}, Exception("out of range"))

    monkeypatch.setattr(JobRepository, "succeed", refuse)
    job = run(embedded_jobs, METRICS + LEAVE_RESULTS, monkeypatch)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "internal_error")
    assert job.error_message == "The results of the job could not be stored; see the worker's log."


def test_a_job_that_the_database_refuses_altogether_is_left_to_the_sweeper(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> bool:
        raise DataError("UPDATE jobs", {}, Exception("out of range"))

    monkeypatch.setattr(JobRepository, "succeed", refuse)
    monkeypatch.setattr(JobRepository, "fail", refuse)
    assert run(embedded_jobs, METRICS + LEAVE_RESULTS, monkeypatch).status == JobStatus.RUNNING


def test_text_without_end_is_cut_in_the_log(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logged:
        run(embedded_jobs, "sys.stderr.write('x' * 4_000_000)\nsys.stderr.flush()\n", monkeypatch)
    texts = [entry["text"] for entry in logged if entry["event"] == "runner_output"]
    assert 200_000 < sum(map(len, texts)) < 300_000
    dropped = next(entry["bytes"] for entry in logged if entry["event"] == "runner_output_dropped")
    assert sum(map(len, texts)) + dropped == 4_000_000


def test_what_a_runner_prints_is_logged_under_its_job(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logged:
        job = run(embedded_jobs, "raise ValueError('odd\\x1b[31m')\n", monkeypatch)
    entries = [entry for entry in logged if entry["event"] == "runner_output"]
    assert [entry["job"] for entry in entries] == [job.id] * len(entries)
    text = "\n".join(entry["text"] for entry in entries)
    assert text.startswith("Traceback")
    assert text.endswith("ValueError: odd\\x1b[31m")


def test_lines_that_are_none_are_logged_some_times_only(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logged:
        run(embedded_jobs, "for number in range(150): print('x' * 100)\n", monkeypatch)
    assert sum(entry["event"] == "runner_line_dropped" for entry in logged) == 10
    assert [entry["count"] for entry in logged if entry["event"] == "runner_lines_dropped"] == [150]


def test_the_standard_error_of_a_runner_is_no_file_that_it_could_truncate(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import stat\nis_pipe = stat.S_ISFIFO(os.fstat(2).st_mode)\n"
    program += 'say(error={"code": "is_pipe" if is_pipe else "is_file", "message": "."})\nsys.exit(1)\n'
    assert run(embedded_jobs, program, monkeypatch).error_code == "is_pipe"


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
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch, program: str, limits: dict[str, Any], message: str
) -> None:
    job = run(embedded_jobs, program + FOREVER, monkeypatch, limits)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "limit_exceeded")
    assert job.error_message == f"The job used more than the {message} allowed here; tell the operator."
    assert list(embedded_jobs.settings.scratch.iterdir()) == []


def test_memory_in_files_without_a_name_counts(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "memory = os.memfd_create('x')\nfor _ in range(200): os.write(memory, bytes(2**20))\n"
    job = run(embedded_jobs, program + FOREVER, monkeypatch, {"memory_bytes": 150 * 2**20})
    assert (job.status, job.error_code) == (JobStatus.FAILED, "out_of_memory")


def test_memory_of_a_process_whose_first_thread_has_ended_counts(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
import ctypes, platform, threading
def take():
    time.sleep(0.3)
    taken = bytearray(200 * 2**20)
    time.sleep(600)
threading.Thread(target=take).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""
    job = run(embedded_jobs, program, monkeypatch, {"memory_bytes": 150 * 2**20})
    assert (job.status, job.error_code) == (JobStatus.FAILED, "out_of_memory")


def test_memory_of_tables_that_map_nothing_counts(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import mmap
size = 64 * 2**30
memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
for place in range(0, size, 2**21): memory[place]
"""
    job = run(embedded_jobs, program + FOREVER, monkeypatch, {"memory_bytes": 100 * 2**20})
    assert (job.status, job.error_code) == (JobStatus.FAILED, "out_of_memory")


def test_removed_files_count_while_other_descriptors_come_and_go(tmp_path: Path) -> None:
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


def test_a_runner_that_has_read_a_file_is_not_believed_that_it_could_not_start(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
say(progress={"phase": "reading"})
say(error={"code": "no_runner", "message": "."})
sys.exit(74)
"""
    job = run(embedded_jobs, program, monkeypatch)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "no_runner")


def test_a_file_in_place_of_the_results_fails_the_job(embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job = run(embedded_jobs, "results.rmdir()\nresults.touch()\n", monkeypatch)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "internal_error")


def test_snapshots_beyond_the_bound_are_not_kept(
    embedded_jobs: Jobs, embedded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A job with the example may keep 4.7 MB.
    program = (
        """
for number in range(4):
    (folder / "snapshots" / f"stage-{number}").write_bytes(bytes(2_000_000))
    say(snapshot=f"stage-{number}")
    time.sleep(0.4)
"""
        + FOREVER
    )
    kept: list[int] = []

    def look(self: SnapshotFolder, job_id: str, snapshots: Any) -> None:
        kept.append(len(snapshots))

    monkeypatch.setattr(SnapshotFolder, "keep_only", look)
    run(embedded_jobs, program, monkeypatch, {"seconds": 2.5})
    assert kept == [1, 2]


def test_a_snapshot_that_is_announced_over_and_over_is_copied_once_per_half_interval(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
with open(folder / "snapshots" / "stage-0", "wb") as file:
    file.truncate(1_000_000)
while True:
    say(snapshot="stage-0")
    time.sleep(0.05)
"""
    copied: list[str] = []
    keep = SnapshotFolder.keep

    def look(self: SnapshotFolder, job_id: str, name: str, source: BinaryIO) -> StoredArtifact:
        copied.append(name)
        return keep(self, job_id, name, source)

    monkeypatch.setattr(SnapshotFolder, "keep", look)
    run(embedded_jobs, program, monkeypatch, {"seconds": 3.0}, snapshot_interval=timedelta(minutes=10))
    assert copied == ["stage-0"]


@pytest.mark.parametrize(
    ("interrupt", "limits", "status"),
    [
        (Jobs.cancel, {}, JobStatus.CANCELED),
        (Jobs.take_away, {}, JobStatus.QUEUED),
        (lambda jobs, job_id: None, {"seconds": 2.0}, JobStatus.FAILED),
    ],
    ids=["canceled", "lost", "over its deadline"],
)
def test_the_copy_of_a_snapshot_ends_when_its_job_does(
    embedded_jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
    interrupt: Callable[[Jobs, str], None],
    limits: dict[str, Any],
    status: JobStatus,
) -> None:
    program = """
(folder / "snapshots" / "stage-0").write_bytes(b"state")
say(snapshot="stage-0")
"""
    blocks = 0

    def keep_slowly(self: SnapshotFolder, job_id: str, name: str, source: BinaryIO) -> StoredArtifact:
        nonlocal blocks
        interrupt(embedded_jobs, job_id)
        # As long as the copy of a large file on a slow disk: 30 seconds.
        while blocks < 600:
            blocks += 1
            source.seek(0)
            source.read()
            time.sleep(0.05)
        raise OSError("the copy was not ended")

    monkeypatch.setattr(SnapshotFolder, "keep", keep_slowly)
    job = run(embedded_jobs, program + FOREVER, monkeypatch, limits)
    assert job.status == status
    assert 0 < blocks < 600


def test_a_runner_that_is_frozen_is_ended_and_its_job_tried_again(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import signal\nos.kill(os.getpid(), signal.SIGSTOP)\n"
    job = run(embedded_jobs, program, monkeypatch, {"silence_seconds": 1.5})
    assert (job.status, job.attempt, job.releases) == (JobStatus.QUEUED, 1, 0)


def test_a_runner_that_is_frozen_in_each_attempt_fails_its_job(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import signal\nos.kill(os.getpid(), signal.SIGSTOP)\n"
    job = run(embedded_jobs, program, monkeypatch, {"silence_seconds": 0.5}, max_attempts=1)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "frozen")


def test_a_runner_that_computes_and_says_nothing_is_not_taken_for_frozen(
    embedded_jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"{METRICS}\nuntil = time.monotonic() + 3\nwhile time.monotonic() < until: sum(range(1000))\n"
    job = run(embedded_jobs, program + LEAVE_RESULTS, monkeypatch, {"silence_seconds": 1.0})
    assert job.status == JobStatus.SUCCEEDED


def test_a_job_that_is_canceled_while_its_runner_says_what_no_row_can_hold_is_canceled(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervise = Supervisor._supervise

    def canceled_meanwhile(self: Supervisor, folder: RunFolder, *arguments: Any) -> Any:
        outcome = supervise(self, folder, *arguments)
        jobs.cancel(folder.job_id)
        return outcome

    monkeypatch.setattr(Supervisor, "_supervise", canceled_meanwhile)
    program = 'say(error={"code": "bad_data", "message": "a\\0b."})\nsys.exit(1)\n'
    assert run(jobs, program, monkeypatch).status == JobStatus.CANCELED
