import json
import sys
from pathlib import Path

import pytest

from nern_core.contract.report import Report
from nern_core.networks.evaluate import evaluate_checkpoint
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import DIGITS, EXAMPLE
from tests.nern_cli.test_main import QUICK, nern


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> tuple[str, str]:
    """A .nern file of the example, and the report that `nern encode` wrote."""
    encoding, report = str(tmp_path / "digits.nern"), str(tmp_path / "report.json")
    arguments = ["-o", encoding, "--report", report, "--architecture", "digits-cnn", *QUICK, "--json"]
    assert nern(monkeypatch, "encode", str(EXAMPLE), *arguments) == 0
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert Report.model_validate_json(Path(report).read_text()).metrics.model_dump(mode="json") == metrics
    return encoding, report


def test_report_draws_the_files_with_what_the_training_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoded: tuple[str, str], tmp_path: Path
) -> None:
    encoding, trained = encoded
    page = tmp_path / "report.html"
    data = ["--report", trained, "--dataset", str(DIGITS), "--json"]
    assert nern(monkeypatch, "report", str(EXAMPLE), encoding, "-o", str(page), *data) == 0
    report = Report.model_validate_json(capsys.readouterr().out)
    assert report.metrics.original_accuracy == evaluate_checkpoint(read_checkpoint(EXAMPLE), "digits-cnn", DIGITS)
    assert report.curve == Report.model_validate_json(Path(trained).read_text()).curve
    assert "Loss of the phase reconstruction" in page.read_text()


def test_report_says_that_the_files_alone_hold_no_training_curve(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoded: tuple[str, str], tmp_path: Path
) -> None:
    assert nern(monkeypatch, "report", str(EXAMPLE), encoded[0], "-o", str(tmp_path / "report.html")) == 0
    assert "Without --report there are no training curves" in capsys.readouterr().out


def test_report_mentions_no_training_curves_of_weights_that_were_only_rounded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    encoding = str(tmp_path / "x.nern")
    assert nern(monkeypatch, "encode", str(EXAMPLE), "-o", encoding) == 0
    assert nern(monkeypatch, "report", str(EXAMPLE), encoding, "-o", str(tmp_path / "report.html")) == 0
    assert "training curves" not in capsys.readouterr().out


def test_report_trains_the_rival_for_the_seconds_that_it_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoded: tuple[str, str], tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    asked = ["--dataset", str(DIGITS), "--direct-seconds", "1", "--json"]
    assert nern(monkeypatch, "report", str(EXAMPLE), encoded[0], "-o", str(page), *asked) == 0
    rival = Report.model_validate_json(capsys.readouterr().out).alternatives[-1]
    assert rival.name == "direct quantization"
    assert rival.seconds == pytest.approx(1.0, abs=0.5)
    assert "Direct quantization uses learned steps" in page.read_text()


def test_the_rival_needs_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoded: tuple[str, str], tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    assert nern(monkeypatch, "report", str(EXAMPLE), encoded[0], "-o", str(page), "--direct-seconds", "1") == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "It needs --dataset for the distillation." in error


def test_an_environment_without_nncodec_is_told_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoded: tuple[str, str], tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    assert nern(monkeypatch, "report", str(EXAMPLE), encoded[0], "-o", str(page), "--nncodec", sys.executable) == 1
    assert "No module named 'nncodec'" in capsys.readouterr().err
    assert not page.exists()


def test_a_report_of_files_that_do_not_belong_together_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoded: tuple[str, str], tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    assert nern(monkeypatch, "report", encoded[0], encoded[0], "-o", str(page)) == 9
    assert "'digits.nern' was not made from 'digits.nern'" in capsys.readouterr().err
    assert not page.exists()


def test_compress_report_measures_draws_and_judges(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoded: tuple[str, str], tmp_path: Path
) -> None:
    chart = tmp_path / "chart.svg"
    arguments = ["compress-report", str(EXAMPLE), encoded[0], "--dataset", str(DIGITS), "-o", str(chart)]
    assert nern(monkeypatch, *arguments, "--images", "20", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (len(result["points"]), len(result["verdicts"]), result["images"]) == (30, 2, 20)
    assert "predictor, quantized" in chart.read_text()
