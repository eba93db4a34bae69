import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.jobs.models import JobStatus
from tests.worker.conftest import Jobs
from tests.worker.supervision import nothing, supervisor
from worker.caches import Caches
from worker.child import RunnerStarter

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
FILL = (sys.executable, "-c", "import os, pathlib; pathlib.Path(os.environ['NUMBA_CACHE_DIR']).write_text('filled')")


def test_caches_are_filled_before_the_first_copy(tmp_path: Path) -> None:
    caches = Caches(tmp_path / "caches", FILL)
    for name in ("first", "second"):
        caches.copy_to(tmp_path / name, nothing)
        assert (tmp_path / name / "numba").read_text() == "filled"


def test_caches_of_the_same_code_are_filled_by_one_process_for_all(tmp_path: Path) -> None:
    folder, forbidden = tmp_path / "caches", (sys.executable, "-c", "exit(1)")
    Caches(folder, FILL).copy_to(tmp_path / "first", nothing)
    Caches(folder, forbidden).copy_to(tmp_path / "second", nothing)
    assert (tmp_path / "second" / "numba").read_text() == "filled"


def test_caches_of_other_code_are_filled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, counted = tmp_path / "caches", tmp_path / "count"
    append = (sys.executable, "-c", f"open({str(counted)!r}, 'a').write('x')")
    Caches(folder, append).copy_to(tmp_path / "first", nothing)
    monkeypatch.setattr("worker.caches._state_of_code", lambda: "newer")
    Caches(folder, append).copy_to(tmp_path / "second", nothing)
    shutil.rmtree(folder)
    Caches(folder, append).copy_to(tmp_path / "third", nothing)
    assert counted.read_text() == "xxx"


def test_a_failure_leaves_the_work_to_the_runner(tmp_path: Path) -> None:
    Caches(tmp_path / "caches", (sys.executable, "-c", "exit(1)")).copy_to(tmp_path / "copy", nothing)
    assert list((tmp_path / "copy").iterdir()) == []


@pytest.mark.parametrize("reason", ["stopped", "canceled"])
def test_a_job_leaves_at_once_while_caches_are_filled(embedded_jobs: Jobs, tmp_path: Path, reason: str) -> None:
    job_id = embedded_jobs.submit()
    starter, started, asked = RunnerStarter(Caches(tmp_path / "caches", SLEEP)), time.monotonic(), []

    def stopping() -> bool:
        # Asked before the claim, and then while the caches are filled.
        asked.append(True)
        if len(asked) == 3 and reason == "canceled":
            embedded_jobs.cancel(job_id)
        return len(asked) >= 3 and reason == "stopped"

    supervisor(embedded_jobs, starter, stopping).run(job_id)
    expected = {"stopped": JobStatus.QUEUED, "canceled": JobStatus.CANCELED}[reason]
    assert (embedded_jobs.get(job_id).status, embedded_jobs.get(job_id).releases) == (
        expected,
        int(reason == "stopped"),
    )
    assert time.monotonic() - started < 30


def test_a_file_that_another_worker_renames_meanwhile_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "caches"
    folder.mkdir()
    (folder / "index").touch()
    (folder / "index.writing").touch()
    copy = shutil.copy2

    def rename_before(source: str, target: str, **options: Any) -> object:
        if source.endswith(".writing"):
            Path(source).replace(folder / "index")
        return copy(source, target, **options)

    monkeypatch.setattr(shutil, "copy2", rename_before)
    Caches(folder, FILL).copy_to(tmp_path / "copy", nothing)
    assert (tmp_path / "copy" / "index").exists()
