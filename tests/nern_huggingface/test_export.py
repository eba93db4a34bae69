import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
from huggingface_hub import ModelCard

from nern_core.contract.errors import NernError
from nern_core.contract.metrics import Metrics
from nern_core.contract.options import EncodeOptions
from nern_core.contract.report import Report
from nern_core.decoder import decode
from nern_core.tensors.digest import file_sha256
from nern_huggingface.card import About
from nern_huggingface.export import export

GOLDEN = Path(__file__).parent.parent / "golden"
ENCODING = GOLDEN / "predictor-v4.nern"
FILES = {"README.md", "config.json", "encoding.nern", "model.safetensors"}
ABOUT = About(name="digits-nern", base_model="me/digits", license="mit", repository="me/digits-nern")


def write_report(path: Path, *, dataset: str | None, accuracy: float | None) -> Path:
    """Write a report of the encoding like a job."""
    options = EncodeOptions(architecture="digits-cnn" if dataset else None, dataset=dataset)
    metrics = Metrics(
        source_bytes=1000,
        file_bytes=ENCODING.stat().st_size,
        predictor_bytes=1,
        permutation_bytes=1,
        kept_bytes=1,
        ratio=1.0,
        relative_error=0.25,
        original_accuracy=None if accuracy is None else 99.5,
        reconstructed_accuracy=accuracy,
        seconds={},
    )
    report = Report(
        nern_version="1.2.3",
        source_sha256="a" * 64,
        encoding_sha256=file_sha256(ENCODING),
        options=options,
        hidden_size=8,
        represented_weights=1,
        represented_share=1.0,
        predictor_parameters=1,
        header_bytes=1,
        metrics=metrics,
        layers=(),
        curve=(),
    )
    path.write_text(report.model_dump_json())
    return path


def test_the_folder_has_what_the_hub_looks_for(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "digits-nern"
    export(ENCODING, folder, ABOUT)
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "encoding.nern").read_bytes() == ENCODING.read_bytes()
    decoded = safetensors.torch.load_file(folder / "model.safetensors")
    expected = decode(ENCODING).tensors
    assert decoded.keys() == expected.keys()
    assert all(decoded[name].equal(expected[name]) for name in expected)


def test_the_configuration_says_what_was_encoded(tmp_path: Path) -> None:
    card = export(ENCODING, tmp_path / "model", ABOUT)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["model_type"] == "nern"
    assert (config["representation"], config["format_version"]) == ("predictor", 4)
    assert config["encoding"] == {"bytes": ENCODING.stat().st_size, "sha256": file_sha256(ENCODING)}
    assert config["weights"] == {"sha256": file_sha256(tmp_path / "model" / "model.safetensors")}
    assert config["source"] == {"bytes": card.source_bytes, "sha256": file_sha256(GOLDEN / "source.safetensors")}


def test_the_hub_understands_the_card(tmp_path: Path) -> None:
    report = write_report(tmp_path / "report.json", dataset="/srv/data/Digits", accuracy=98.75)
    card = export(ENCODING, tmp_path / "model", ABOUT, report=report)
    data = ModelCard.load(tmp_path / "model" / "README.md").data
    assert data.library_name == "nern"
    assert data.license == "mit"
    assert data.base_model == "me/digits"
    assert data.tags == ["nern", "neural-representation", "model-compression"]
    assert data.model_name == "digits-nern"
    found = [(result.dataset_name, result.metric_type, result.metric_value) for result in data.eval_results or []]
    assert found == [("Digits", "accuracy", 0.9875), ("Digits", "compression_ratio", card.ratio)]
    assert {(r.task_type, r.dataset_type, r.dataset_split) for r in data.eval_results or []} == {
        ("image-classification", "digits", "test")
    }


def test_the_card_tells_people_what_the_report_has_measured(tmp_path: Path) -> None:
    report = write_report(tmp_path / "report.json", dataset="/srv/data/Digits", accuracy=98.75)
    export(ENCODING, tmp_path / "model", ABOUT, report=report)
    text = ModelCard.load(tmp_path / "model" / "README.md").text
    assert "| accuracy on the test split of Digits | 99.50 % | 98.75 % |" in text
    assert "| relative error of the weights | | 0.25 |" in text
    assert 'hf_hub_download("me/digits-nern", "encoding.nern")' in text
    assert "nern 1.2.3" in text
    assert "/srv/data" not in text


@pytest.mark.parametrize(
    "about", [About(name="model"), About(name="quotes \"and\" 'colons': # <&>", base_model="a/b", license="other")]
)
def test_what_nobody_has_measured_or_said_is_left_out(tmp_path: Path, about: About) -> None:
    export(ENCODING, tmp_path / "model", about)
    data = ModelCard.load(tmp_path / "model" / "README.md").data
    assert data.eval_results is None
    assert (data.base_model, data.license) == (about.base_model, about.license)
    told = (tmp_path / "model" / "README.md").read_text()
    assert ("# license: add the licence" in told) == (about.license is None)
    assert "accuracy" not in told


def test_a_name_may_have_any_characters(tmp_path: Path) -> None:
    name = "quotes \"and\" 'colons': # <&> é"
    report = write_report(tmp_path / "report.json", dataset="/data/x", accuracy=50.0)
    export(ENCODING, tmp_path / "model", About(name=name), report=report)
    assert ModelCard.load(tmp_path / "model" / "README.md").data.model_name == name


def test_quantized_weights_are_told_as_such(tmp_path: Path) -> None:
    export(GOLDEN / "quantized-v4.nern", tmp_path / "model", ABOUT)
    assert "The weights are quantized" in (tmp_path / "model" / "README.md").read_text()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["representation"] == "quantized"


def test_weights_that_are_known_are_taken_as_they_are(tmp_path: Path) -> None:
    known = tmp_path / "weights.safetensors"
    shutil.copyfile(GOLDEN / "predictor-v4.safetensors", known)
    export(ENCODING, tmp_path / "model", ABOUT, weights=known)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == known.read_bytes()


def test_a_folder_that_is_not_empty_is_left_alone_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    notes, readme = tmp_path / "notes.txt", tmp_path / "README.md"
    notes.write_text("mine")
    with pytest.raises(NernError, match="use --overwrite"):
        export(ENCODING, tmp_path, ABOUT)
    assert list(tmp_path.iterdir()) == [notes]
    readme.write_text("old")
    export(ENCODING, tmp_path, ABOUT, overwrite=True)
    assert notes.read_text() == "mine"
    assert readme.read_text().startswith("---\nlibrary_name: nern\n")


def test_the_report_of_another_encoding_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    report = write_report(tmp_path / "report.json", dataset=None, accuracy=None)
    with pytest.raises(NernError) as refused:
        export(GOLDEN / "quantized-v4.nern", tmp_path / "model", ABOUT, report=report)
    assert refused.value.code == "another_encoding"
    assert not (tmp_path / "model").exists()
