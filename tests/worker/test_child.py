import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nern_core.contract.options import EncodeOptions
from tests.conftest import EXAMPLE, ROOT
from tests.worker.small_child import ProgramStarter
from worker.child import Child
from worker.folder import RunFolder, RunSpec


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A folder with the example and a spec that takes forever."""
    folder = RunFolder(tmp_path)
    folder.make()
    folder.checkpoint.write_bytes(EXAMPLE.read_bytes())
    folder.spec.write_text(RunSpec(options=EncodeOptions(representation="predictor", seconds=600)).model_dump_json())
    return folder


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def test_a_child_has_its_own_process_group_and_no_secrets(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERN_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    child = ProgramStarter("say()\ntime.sleep(600)\n").start(folder)
    try:
        while not child.lines.count:
            time.sleep(0.005)
        assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
        assert not [name for name in environment_of(child.pid) if name.startswith(("NERN_", "AWS_"))]
    finally:
        child.kill()
    assert not is_running(child.pid)


def test_a_child_dies_with_the_process_that_started_it(folder: RunFolder) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from worker.child import RunnerStarter\nfrom worker.folder import RunFolder\n"
        "child = RunnerStarter().start(RunFolder(Path(sys.argv[1])))\nprint(child.pid, flush=True)\n"
        "while child.lines.progress is None: time.sleep(0.05)\nprint('running', flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(folder.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline() == "running\n"
        assert is_running(pid)
        parent.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 5
        while is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def run_program(folder: RunFolder, program: str) -> tuple[Child, int | None]:
    """Run a child with a small program instead of the runner."""
    child = ProgramStarter(program).start(folder)
    return child, child.wait(30)


def test_the_last_lines_of_a_child_are_read(folder: RunFolder) -> None:
    program = 'for step in range(100): say(progress={"phase": "reading", "fraction": 0.5, "step": step})\n'
    child, status = run_program(folder, program)
    assert (status, child.is_running, child.lines.count) == (0, False, 100)
    assert child.lines.progress is not None
    assert (child.lines.progress.phase, child.lines.progress.step) == ("reading", 99)


def test_a_child_that_runs_has_no_status(folder: RunFolder) -> None:
    child = ProgramStarter("time.sleep(600)\n").start(folder)
    try:
        assert (child.wait(0.01), child.is_running) == (None, True)
    finally:
        child.kill()


def test_the_status_of_a_child_that_is_killed_is_the_signal(folder: RunFolder) -> None:
    _, status = run_program(folder, "os.kill(os.getpid(), 9)\n")
    assert status == -signal.SIGKILL


def test_a_child_is_asked_to_stop_by_a_signal(folder: RunFolder) -> None:
    child = ProgramStarter(
        "import signal\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\nsay()\ntime.sleep(600)\n"
    ).start(folder)
    while not child.lines.count:
        time.sleep(0.005)
    child.terminate()
    assert child.wait(30) == 75


def test_all_processes_of_a_child_are_killed(folder: RunFolder) -> None:
    program = "if os.fork(): say()\ntime.sleep(600)\n"
    child = ProgramStarter(program).start(folder)
    while not child.lines.count:
        time.sleep(0.005)
    group = child.pid
    child.kill()
    deadline = time.monotonic() + 5
    while [pid for pid in pids() if group_of(pid) == group and is_running(pid)]:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_standard_error_of_a_child_is_no_file_that_it_could_truncate(folder: RunFolder) -> None:
    program = "import stat\nsys.exit(3 if stat.S_ISFIFO(os.fstat(2).st_mode) else 4)\n"
    assert run_program(folder, program)[1] == 3


def test_the_text_of_a_child_is_logged(folder: RunFolder) -> None:
    with capture_logs() as logged:
        run_program(folder, "raise ValueError('odd')\n")
    text = "\n".join(entry["text"] for entry in logged if entry["event"] == "runner_output")
    assert text.startswith("Traceback")
    assert text.endswith("ValueError: odd")
