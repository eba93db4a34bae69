import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nern_core.contract.options import EncodeOptions, RepresentationName
from tests.conftest import EXAMPLE, ROOT
from worker.child import Child
from worker.folder import RunFolder, RunSpec


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A folder with the example and a spec that takes forever."""
    folder = RunFolder(tmp_path)
    folder.make()
    folder.checkpoint.write_bytes(EXAMPLE.read_bytes())
    folder.spec.write_text(
        RunSpec(options=EncodeOptions(representation=RepresentationName.PREDICTOR, seconds=600)).model_dump_json()
    )
    return folder


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def test_a_child_has_its_own_process_group_and_no_secrets(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERN_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    child = Child(folder)
    try:
        time.sleep(0.5)
        assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
        assert not [name for name in environment_of(child.pid) if name.startswith(("NERN_", "AWS_"))]
    finally:
        child.kill()
    assert not is_running(child.pid)


def test_a_child_dies_with_the_process_that_started_it(folder: RunFolder) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from worker.child import Child\nfrom worker.folder import RunFolder\n"
        "child = Child(RunFolder(Path(sys.argv[1])))\nprint(child.pid, flush=True)\n"
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


def run_with(folder: RunFolder, program: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Child, int]:
    """Run a child with `program` instead of the runner."""
    module = folder.path / "fake" / "worker"
    module.mkdir(parents=True)
    (module / "__init__.py").touch()
    (module / "runner.py").write_text(program)
    monkeypatch.setattr("worker.child._ROOT", module.parent)
    child = Child(folder)
    status = child.wait(30)
    assert status is not None
    return child, status


def test_lines_that_are_no_progress_are_dropped(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["noise", '{"progress": {"fraction": 7}}', '{"other": 1}', '{"progress": null}', "x" * 200_000]
    good = {"progress": {"phase": "reading", "fraction": 0.5, "step": 3}}
    program = f"print({json.dumps(json.dumps(good))})\n" + "".join(f"print({line!r})\n" for line in lines)
    child, status = run_with(folder, program, monkeypatch)
    assert status == 0
    assert child.lines.progress is not None
    assert (child.lines.progress.phase, child.lines.progress.step) == ("reading", 3)
    assert child.lines.error is None


def test_a_child_that_is_killed_says_so(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    _, status = run_with(folder, "import os\nos.kill(os.getpid(), 9)\n", monkeypatch)
    assert status == -signal.SIGKILL
