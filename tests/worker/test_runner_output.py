"""Lines and text of a hostile runner."""

import os
import threading
from collections.abc import Generator, Iterator
from typing import BinaryIO

import pytest
from structlog.testing import capture_logs

from app.jobs.models import JobStatus
from tests.worker.conftest import Jobs
from tests.worker.scripted_child import ScriptedChild, fail, print_lines
from tests.worker.supervision import run
from worker.runner_output import RunnerLines, RunnerLog

GOOD = b'{"progress": {"phase": "reading", "fraction": 0.5, "step": 3}}\n'


class Pipe:
    """A pipe with a thread that writes into it and closes it."""

    def __init__(self, *content: bytes) -> None:
        self._content = content
        output, self._input = os.pipe()
        self.output: BinaryIO = os.fdopen(output, "rb")
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        with os.fdopen(self._input, "wb") as file:
            file.writelines(self._content)

    def join(self) -> None:
        self._thread.join()


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    with capture_logs() as entries:
        yield entries  # type: ignore[misc] # structlog's entries have any keys


def read_lines(*content: bytes) -> RunnerLines:
    lines, pipe = RunnerLines("job_1"), Pipe(*content)
    lines.read(pipe.output)
    pipe.join()
    return lines


def test_control_characters_in_an_error_are_escaped(jobs: Jobs) -> None:
    job = run(jobs, fail("bad_data", "a\0b\x1b[31m\u202e."))
    assert (job.status, job.error_code) == (JobStatus.FAILED, "bad_data")
    assert job.error_message == "a\\x00b\\x1b[31m\\u202e."


def test_a_job_whose_runner_prints_noise_succeeds(embedded_jobs: Jobs) -> None:
    assert run(embedded_jobs, print_lines(b"noise\n", b"\xff\0\n", b"", b"[" * 100_000)).status == JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    "line",
    [
        b"noise\n",
        b'{"progress": {"fraction": 7}}\n',
        b'{"progress": {"phase": "reading", "step": 1e999}}\n',
        b'{"other": 1}\n',
        b'{"progress": null}\n',
        b'{"snapshot": "../checkpoint"}\n',
        b'{"snapshot": "stage-1000"}\n',
        b'{"error": {"code": "A code", "message": "."}}\n',
        b"x" * 200_000 + b"\n",
        b"\xff\xfe\0\n",
    ],
    ids=lambda line: repr(line[:40]),
)
def test_an_invalid_line_changes_nothing(line: bytes) -> None:
    lines = read_lines(GOOD, line)
    assert lines.progress is not None
    assert (lines.progress.phase, lines.progress.step) == ("reading", 3)
    assert (lines.error, lines.new_snapshots()) == (None, set())


def test_invalid_lines_are_logged_ten_times_only(logged: list[dict[str, object]]) -> None:
    read_lines(*[b"x" * 100 + b"\n"] * 150)
    assert sum(entry["event"] == "runner_line_dropped" for entry in logged) == 10
    assert [entry["count"] for entry in logged if entry["event"] == "runner_lines_dropped"] == [150]


def test_text_without_end_is_cut_in_the_log(logged: list[dict[str, object]]) -> None:
    pipe = Pipe(b"x" * 4_000_000)
    RunnerLog("job_1").read(pipe.output)
    pipe.join()
    sizes = [len(str(entry["text"])) for entry in logged if entry["event"] == "runner_output"]
    assert 200_000 < sum(sizes) < 300_000
    assert [entry["bytes"] for entry in logged if entry["event"] == "runner_output_dropped"] == [4_000_000 - sum(sizes)]


def test_text_is_logged_under_its_job_without_control_characters(logged: list[dict[str, object]]) -> None:
    pipe = Pipe(b"Traceback:\nValueError: odd\x1b[31m\n")
    RunnerLog("job_1").read(pipe.output)
    pipe.join()
    assert [(entry["event"], entry["job"], entry["text"]) for entry in logged] == [
        ("runner_output", "job_1", "Traceback:\nValueError: odd\\x1b[31m")
    ]


def test_a_runner_that_has_read_a_file_is_not_believed_that_it_could_not_start(embedded_jobs: Jobs) -> None:
    def script(child: ScriptedChild) -> Generator[None, None, int]:
        child.say(progress={"phase": "reading"})
        child.say(error={"code": "no_runner", "message": "."})
        yield
        return 74

    job = run(embedded_jobs, script)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "no_runner")
