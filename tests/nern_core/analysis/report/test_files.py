import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from nern_core.analysis.baselines import Alternative
from nern_core.analysis.comparison import open_comparison
from nern_core.analysis.report.files import measure_comparison, read_report
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.contract.report import AlternativeReport, Report
from nern_core.decoder import decode
from nern_core.encoder import encode
from nern_core.networks.evaluate import evaluate_checkpoint
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import DIGITS, EXAMPLE


def test_from_the_files_alone_everything_but_the_training_and_the_accuracies_is_known(
    digits: tuple[Path, Report],
) -> None:
    encoding, trained = digits
    found = measure_comparison(open_comparison(EXAMPLE, encoding)).report
    # Without accuracies, the verdict names the lost layers instead of a note.
    unknown: dict[str, Any] = {
        "original_accuracy": None,
        "reconstructed_accuracy": None,
        "fidelity": None,
        "seconds": {},
        "notes": trained.metrics.notes[1:],
    }
    metrics = trained.metrics.model_copy(update=unknown)
    expected = trained.model_copy(update={"curve": (), "recommended_steps": None, "metrics": metrics}).judged()
    assert found.model_copy(update={"alternatives": ()}) == expected
    assert [(x.name, x.accuracy) for x in found.alternatives] == [
        ("zstd", None),
        ("fp16", None),
        ("int8", None),
        ("int6", None),
        ("int4", None),
    ]


def test_accuracies_that_are_measured_later_come_with_a_note_on_lost_layers(digits: tuple[Path, Report]) -> None:
    encoding, trained = digits
    found = measure_comparison(open_comparison(EXAMPLE, encoding), dataset=DIGITS).report
    assert found.metrics.notes == trained.metrics.notes
    assert found.metrics.notes[0].startswith("These layers are lost (relative error of 0.9 or more): ")


def test_with_the_report_of_the_one_who_trained_nothing_of_it_is_lost(digits: tuple[Path, Report]) -> None:
    encoding, trained = digits
    found = measure_comparison(open_comparison(EXAMPLE, encoding), trained=trained).report
    assert found.model_copy(update={"alternatives": ()}) == trained
    assert found.curve


def test_with_data_every_accuracy_is_measured(digits: tuple[Path, Report]) -> None:
    encoding = digits[0]
    found = measure_comparison(open_comparison(EXAMPLE, encoding), dataset=DIGITS).report
    assert found.metrics.original_accuracy == evaluate_checkpoint(read_checkpoint(EXAMPLE), "digits-cnn", DIGITS)
    assert found.metrics.reconstructed_accuracy == evaluate_checkpoint(decode(encoding), "digits-cnn", DIGITS)
    accuracies = {alternative.name: alternative.accuracy for alternative in found.alternatives}
    assert accuracies["fp16"] == pytest.approx(99.4, abs=0.5)
    assert accuracies["int8"] == pytest.approx(99.4, abs=0.5)


def test_another_method_is_measured_beside_the_standard_codecs(digits: tuple[Path, Report]) -> None:
    nothing = {name: torch.zeros_like(tensor) for name, tensor in read_checkpoint(EXAMPLE).tensors.items()}
    other = Alternative(name="nothing", bytes=1, tensors=nothing, seconds=2.0)
    found = measure_comparison(open_comparison(EXAMPLE, digits[0]), dataset=DIGITS, others=[other]).report.alternatives
    assert [row.name for row in found] == ["zstd", "fp16", "int8", "int6", "int4", "nothing"]
    assert (found[-1].bytes, found[-1].seconds) == (1, 2.0)
    assert found[-1].accuracy is not None
    assert found[-1].accuracy < 20


def test_why_a_method_failed_stays_until_it_is_measured(digits: tuple[Path, Report]) -> None:
    comparison = open_comparison(EXAMPLE, digits[0])
    first = measure_comparison(comparison, trained=digits[1], failed={"other": "It diverged."}).report
    again = measure_comparison(comparison, trained=first).report
    assert first.failed_alternatives == again.failed_alternatives == {"other": "It diverged."}
    measured = [Alternative(name="other", bytes=9, tensors=comparison.original.tensors)]
    assert measure_comparison(comparison, trained=first, others=measured).report.failed_alternatives == {}


def test_what_was_measured_before_stays_unless_the_data_are_others(
    digits: tuple[Path, Report], random_dataset: Path
) -> None:
    comparison, row = open_comparison(EXAMPLE, digits[0]), AlternativeReport(name="zstd", bytes=7, accuracy=50.0)
    other = AlternativeReport(name="other", bytes=8, accuracy=60.0)
    trained = digits[1].model_copy(update={"alternatives": (row, other)})
    without_data = measure_comparison(comparison, trained=trained).report.alternatives
    same_data = measure_comparison(comparison, trained=trained, dataset=DIGITS).report.alternatives
    other_data = measure_comparison(comparison, trained=trained, dataset=random_dataset).report.alternatives
    assert {row, other} < set(without_data)
    assert row not in same_data
    assert other in same_data
    assert not {"other"} & {found.name for found in other_data}


def test_accuracies_on_another_data_set_take_the_place_of_those_in_the_report(
    digits: tuple[Path, Report], random_dataset: Path
) -> None:
    encoding, trained = digits
    found = measure_comparison(
        open_comparison(EXAMPLE, encoding), trained=trained, dataset=random_dataset
    ).report.metrics
    assert found.original_accuracy == evaluate_checkpoint(read_checkpoint(EXAMPLE), "digits-cnn", random_dataset)
    assert found.seconds == trained.metrics.seconds


def test_a_layer_has_its_share_of_the_weights_and_its_error(digits: tuple[Path, Report]) -> None:
    layers = digits[1].layers
    original, decoded = read_checkpoint(EXAMPLE).tensors, decode(digits[0]).tensors
    weights = [original[layer.name].numel() for layer in layers]
    for layer, count in zip(layers, weights, strict=True):
        error = (decoded[layer.name] - original[layer.name]).double().norm() / original[layer.name].double().norm()
        assert layer.relative_error == pytest.approx(float(error))
        assert layer.share == pytest.approx(count / sum(weights))
        assert (layer.kernels * 9, layer.kernel_shape) == (count, (3, 3))


def test_the_bytes_of_all_parts_are_those_of_the_file(digits: tuple[Path, Report]) -> None:
    encoding, report = digits
    metrics = report.metrics
    parts = metrics.predictor_bytes + metrics.permutation_bytes + metrics.kept_bytes + report.header_bytes
    assert parts == metrics.file_bytes == encoding.stat().st_size
    assert report.encoding_sha256 == hashlib.sha256(encoding.read_bytes()).hexdigest()


def test_a_checkpoint_that_the_encoding_was_not_made_from_is_refused(
    digits: tuple[Path, Report], digits_checkpoint: Path
) -> None:
    with pytest.raises(NernError, match=r"'digits\.nern' was not made from 'digits\.safetensors'"):
        measure_comparison(open_comparison(digits_checkpoint, digits[0]))


def test_the_report_of_another_encoding_is_refused(digits: tuple[Path, Report]) -> None:
    another = digits[1].model_copy(update={"encoding_sha256": "0" * 64})
    with pytest.raises(NernError, match=r"The report is not of 'digits\.nern'"):
        measure_comparison(open_comparison(EXAMPLE, digits[0]), trained=another)


def test_data_without_an_architecture_is_refused(odd_shapes: tuple[Path, Path]) -> None:
    with pytest.raises(NernError, match="give --architecture"):
        measure_comparison(open_comparison(*odd_shapes), dataset=DIGITS)


def test_a_report_is_read_back_as_it_was_written(digits: tuple[Path, Report], tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(digits[1].model_dump_json(indent=2))
    assert read_report(path) == digits[1]
    path.write_text("{}")
    with pytest.raises(NernError, match="is not a report of this version"):
        read_report(path)


def test_a_checkpoint_of_zeros_has_a_report(tmp_path: Path) -> None:
    torch.save({"zero": torch.zeros(8, 8, 3, 3)}, tmp_path / "zero.pt")
    encode(tmp_path / "zero.pt", tmp_path / "zero.nern", EncodeOptions(hidden_size=8, steps=2))
    assert (
        measure_comparison(open_comparison(tmp_path / "zero.pt", tmp_path / "zero.nern")).report.layers[0].share == 1.0
    )
