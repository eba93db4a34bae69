import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from nern_cli.encode_snapshots import EncodeSnapshots
from nern_cli.output_files import output_file
from nern_cli.signals import Stopped, stop_request, stopping_signal_numbers, stopping_signals
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from tests.conftest import DIGITS, EXAMPLE, ROOT
from tests.nern_cli.test_main import nern

NERN = str(Path(sys.executable).with_name("nern"))
DATA = ["--architecture", "digits-cnn", "--dataset", str(DIGITS)]
OPTIONS = EncodeOptions(hidden_size=16, steps=2)
LONG = ["--hidden-size", "16", "--steps", "100000", *DATA]


@contextmanager
def encoding(output: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `nern encode` as a process, which is training when the context begins."""
    # A background job of a shell ignores Ctrl-C, and so would all of its children.
    command = ["env", "--default-signal=INT", NERN, "encode", str(EXAMPLE), "-o", str(output), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=output.parent
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "step " in line:
                break
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.gate
def test_ctrl_c_saves_the_training_and_resume_continues_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "x.nern"
    with encoding(output, *LONG) as process:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"is saved in '{output}.snapshots'; the same command with --resume resumes it." in said
    assert said.endswith("nern: Interrupted.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["x.nern.snapshots"]
    steps = json.dumps({"steps": 100_000})[1:-1]
    request = tmp_path / "x.nern.snapshots" / "request.json"
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", str(output), *LONG, "--seed", "1", "--resume") == 2
    assert "belong to another checkpoint, other options or another version" in capsys.readouterr().err
    # The test does not wait for the whole training.
    request.write_text(request.read_text().replace(steps, '"steps": 2'))
    short = [*LONG[:3], "2", *DATA]
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", str(output), *short, "--resume") == 0
    assert "starting from scratch" not in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.nern"]


@pytest.mark.slow
def test_a_second_signal_stops_at_once_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    with encoding(tmp_path / "x.nern", *LONG) as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert {path.name for path in tmp_path.iterdir()} <= {"x.nern.snapshots"}


def test_a_training_without_snapshots_begins_anew_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = str(tmp_path / "x.nern")
    quick = ["--hidden-size", "16", "--steps", "2"]
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", output, *quick, "--resume") == 0
    assert "There are no snapshots" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.nern"]


def test_snapshots_that_are_not_asked_for_are_replaced_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = snapshots_of(OPTIONS, tmp_path / "x.nern")
    quick = ["--hidden-size", "16", "--steps", "2", "--device", "cpu"]
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", str(tmp_path / "x.nern"), *quick) == 0
    assert "Replacing the snapshots" in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_snapshots_of_another_request_are_kept_and_how_to_discard_them_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], resume: list[str], tmp_path: Path
) -> None:
    folder = snapshots_of(EncodeOptions(steps=3), tmp_path / "x.nern")
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", str(tmp_path / "x.nern"), "--steps", "2", *resume) == 2
    assert "remove the folder to discard them" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["request.json", "stage-0"]


def snapshots_of(options: EncodeOptions, output: Path) -> Path:
    """Write the folder that a stopped encoding of the example with these options leaves."""
    with suppress(KeyboardInterrupt), training(output, options):
        raise KeyboardInterrupt
    return output.with_name(f"{output.name}.snapshots")


@contextmanager
def training(output: Path, options: EncodeOptions = OPTIONS, *, resume: bool = False) -> Iterator[Path]:
    """Write a snapshot and the staged output as `nern encode` does; yield the folder of the snapshots."""
    with (
        EncodeSnapshots(output) as kept,
        output_file(output, inputs=[EXAMPLE]) as staged,
        kept.during_training(EXAMPLE, options, None, resume=resume),
    ):
        folder = output.with_name(f"{output.name}.snapshots")
        (folder / "stage-0").touch()
        staged.touch()
        yield folder


def test_snapshots_are_removed_once_the_output_is_in_place(tmp_path: Path) -> None:
    with training(tmp_path / "x.nern"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["x.nern"]


def test_snapshots_stay_if_the_output_cannot_be_put_in_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.nern"
    with pytest.raises(NernError, match="cannot be written"), training(output) as folder:
        output.mkdir()
    assert (folder / "stage-0").exists()
    assert "the same command with --resume resumes it" in capsys.readouterr().err


def test_snapshots_stay_if_a_signal_comes_before_the_output_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: object) -> None:
        raise Stopped(signal.SIGINT)

    with pytest.raises(Stopped), training(tmp_path / "x.nern") as folder:
        monkeypatch.setattr(Path, "replace", stopped)
    assert (folder / "stage-0").exists()


@pytest.mark.parametrize("names", [[], ["stage-0", "stage-1.writing"]], ids=["empty", "without its request"])
def test_a_part_of_a_folder_is_replaced(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "x.nern.snapshots"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    with training(tmp_path / "x.nern", resume=True):
        assert sorted(path.name for path in folder.iterdir()) == ["request.json", "stage-0"]


def test_a_signal_during_the_removal_leaves_no_part_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink

    def stop_after_one(name: str, **options: Any) -> None:
        unlink(name, **options)
        if name == "request.json":
            raise Stopped(signal.SIGINT)

    with pytest.raises(Stopped), training(tmp_path / "x.nern") as folder:
        monkeypatch.setattr(os, "unlink", stop_after_one)
    assert not folder.exists()


@pytest.mark.parametrize("resume", [False, True])
def test_the_snapshots_of_a_running_command_are_not_touched(tmp_path: Path, resume: bool) -> None:
    output = tmp_path / "x.nern"
    with training(output) as folder:
        with pytest.raises(NernError, match="Another command is writing"), training(output, resume=resume):
            pass
        assert sorted(path.name for path in folder.iterdir()) == ["request.json", "stage-0"]
    assert output.exists()


def test_a_folder_that_is_not_ours_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "x.nern.snapshots").mkdir()
    (tmp_path / "x.nern.snapshots" / "diary").touch()
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", str(tmp_path / "x.nern")) == 10
    assert "contains files that are not snapshots" in capsys.readouterr().err
    assert (tmp_path / "x.nern.snapshots" / "diary").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_every_signal_has_its_exit_status(number: signal.Signals, status: int) -> None:
    with pytest.raises(Stopped) as stopped, stopping_signals():
        signal.raise_signal(number)
    assert stopped.value.exit_code == status


def test_a_signal_while_the_command_is_loaded_is_one_sentence() -> None:
    program = (
        "import signal, sys\n"
        "class Loading:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Loading())\n"
        "from nern_cli.main import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "nern: Interrupted.\n")


def test_what_does_not_come_to_the_end_of_a_step_is_stopped_after_a_while() -> None:
    def work() -> None:
        with stop_request(0.01, lambda: None) as stop:
            signal.raise_signal(signal.SIGTERM)
            assert stop() == signal.SIGTERM
            time.sleep(5)

    with pytest.raises(Stopped):
        work()


def test_a_signal_that_was_ignored_before_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_signals():
            signal.raise_signal(signal.SIGHUP)
        assert signal.SIGHUP not in stopping_signal_numbers()
        assert signal.SIGTERM in stopping_signal_numbers()
    finally:
        signal.signal(signal.SIGHUP, before)
