import json
from pathlib import Path

import pytest

from tests.conftest import DIGITS, EXAMPLE
from tests.nern_cli.test_main import QUICK, nern


@pytest.fixture
def encoding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    path = str(tmp_path / "digits.nern")
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", path, "--architecture", "digits-cnn", *QUICK) == 0
    capsys.readouterr()
    return path


def test_importance_writes_three_files_and_prints_what_they_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoding: str, tmp_path: Path
) -> None:
    folder = tmp_path / "found"
    arguments = ["importance", str(EXAMPLE), encoding, "-o", str(folder), "--dataset", str(DIGITS), "--images", "20"]
    assert nern(monkeypatch, *arguments) == 0
    captured = capsys.readouterr()
    assert {path.name for path in folder.iterdir()} == {
        "importance.json",
        "importance.safetensors",
        "pruning-curve.svg",
    }
    assert "rank correlation of reconstruction-error and magnitude, kernels: -" in captured.out
    assert "accuracy in percent on 20 images" in captured.out
    assert f"written: {folder}/pruning-curve.svg" in captured.out
    assert "importance 0 %" in captured.err


def test_importance_without_data_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoding: str, tmp_path: Path
) -> None:
    folder = tmp_path / "found"
    arguments = ["importance", str(EXAMPLE), encoding, "-o", str(folder)]
    assert nern(monkeypatch, *arguments) == 0
    assert "No Fisher information and no pruning curve" in capsys.readouterr().out
    assert nern(monkeypatch, *arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "importance.json").read_text())
    assert not (folder / "pruning-curve.svg").exists()


def test_importance_of_files_that_do_not_belong_together_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoding: str, tmp_path: Path
) -> None:
    assert nern(monkeypatch, "importance", encoding, encoding, "-o", str(tmp_path / "found")) == 9
    assert "'digits.nern' was not made from 'digits.nern'" in capsys.readouterr().err
    assert not (tmp_path / "found").exists()


def test_importance_needs_a_folder_to_make_its_own_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoding: str
) -> None:
    assert nern(monkeypatch, "importance", str(EXAMPLE), encoding, "-o", "/no/such/folder") == 10
    assert "There is no folder '/no/such'" in capsys.readouterr().err
