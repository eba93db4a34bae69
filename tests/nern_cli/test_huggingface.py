import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from app.settings import Settings
from nern_cli.main import main
from nern_client import Client
from nern_core.tensors.digest import file_sha256
from tests.conftest import EXAMPLE, ROOT
from tests.nern_client.conftest import QUICK, listening, succeed
from tests.nern_huggingface.test_export import ENCODING, FILES, write_report

Run = Callable[..., int]


@pytest.fixture
def nern(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `nern huggingface export` in this process; return its exit status."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["nern", "huggingface", "export", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


@pytest.fixture
def client(embedded: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the service set in the environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NERN_API_KEY", raising=False)
    with listening(embedded) as port:
        monkeypatch.setenv("NERN_URL", f"http://127.0.0.1:{port}")
        with Client(retries=QUICK) as client:
            yield client


def test_a_file_is_exported_with_what_is_said_about_it(
    nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report = write_report(tmp_path / "report.json", dataset="/data/digits", accuracy=98.75)
    given = ["--name", "Small digits", "--base-model", "me/digits", "--license", "mit", "--repo-id", "me/small"]
    assert nern(str(ENCODING), "out", *given, "--report", str(report)) == 0
    assert capsys.readouterr().out == "out: model.safetensors, encoding.nern, config.json and README.md\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.base_model, card.data.license, card.data.model_name) == ("me/digits", "mit", "Small digits")
    assert '"me/small"' in card.text


def test_the_licence_is_never_guessed(nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert nern(str(ENCODING), "out") == 0
    assert "README.md names no licence yet" in capsys.readouterr().out
    assert ModelCard.load(tmp_path / "out" / "README.md").data.license is None


def test_a_job_is_exported_as_it_was_published(
    nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, client: Client, embedded: Settings
) -> None:
    report = write_report(tmp_path / "report.json", dataset="/data/digits", accuracy=98.75)
    weights = (ROOT / "tests" / "golden" / "predictor-v4.safetensors").read_bytes()
    job = client.jobs.create(EXAMPLE)
    results = {
        "encoding.nern": ENCODING.read_bytes(),
        "weights.safetensors": weights,
        "report.json": report.read_bytes(),
    }
    succeed(embedded, job.id, results)
    assert nern(job.id, "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "folder": "out",
        "encoding_bytes": ENCODING.stat().st_size,
        "encoding_sha256": file_sha256(ENCODING),
        "weights_sha256": client.jobs.get(job.id).artifacts["weights.safetensors"].sha256,
    }
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == weights
    results_told = ModelCard.load(tmp_path / "out" / "README.md").data.eval_results
    assert results_told is not None
    assert results_told[0].metric_value == 0.9875


def test_what_cannot_be_exported_is_one_sentence(
    nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, client: Client
) -> None:
    assert nern("digits.nern", "out") == 9
    assert capsys.readouterr().err == "nern: There is no file 'digits.nern', and it is not a job id.\n"
    job = client.jobs.create(EXAMPLE)
    assert nern(job.id, "out") == 1
    assert "has no results: it is queued" in capsys.readouterr().err
    assert nern(job.id, "out", "--report", str(EXAMPLE)) == 2
    assert nern(str(EXAMPLE), "out") == 9
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    capsys.readouterr()
    assert nern(str(ENCODING), "full") == 10
    assert capsys.readouterr().err == "nern: 'full' is not empty; use --overwrite to replace the exported files.\n"
