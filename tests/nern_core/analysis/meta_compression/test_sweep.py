from pathlib import Path

import pytest

from nern_core.analysis.comparison import open_comparison
from nern_core.analysis.meta_compression import (
    PRUNED_SHARES,
    QUANTIZED_BITS,
    MetaCompression,
    Method,
    Point,
    Subject,
    sweep,
)
from nern_core.analysis.meta_compression.chart import draw_sweep
from nern_core.analysis.meta_compression.verdict import verdicts
from nern_core.contract.options import EncodeOptions
from nern_core.encoder import encode
from nern_core.networks.evaluate import open_evaluator
from nern_core.representations.files import measure_sizes, read_encoding
from tests.conftest import DIGITS, EXAMPLE


@pytest.fixture(scope="module")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "digits.nern"
    encode(EXAMPLE, path, EncodeOptions(architecture="digits-cnn", hidden_size=32, steps=300))
    return path


@pytest.fixture(scope="module")
def result(encoding: Path) -> MetaCompression:
    evaluator = open_evaluator("digits-cnn", DIGITS, images=200)
    return sweep(open_comparison(EXAMPLE, encoding), evaluator)


def points(result: MetaCompression, subject: Subject, method: Method) -> list[Point]:
    return [point for point in result.points if (point.subject, point.method) == (subject, method)]


def test_every_setting_is_measured_on_both_subjects(result: MetaCompression) -> None:
    for subject in Subject:
        assert [point.setting for point in points(result, subject, Method.PRUNING)] == list(PRUNED_SHARES)
        assert [point.setting for point in points(result, subject, Method.QUANTIZATION)] == list(QUANTIZED_BITS)
    assert (result.images, result.architecture) == (200, "digits-cnn")


def test_stronger_settings_take_fewer_bytes(result: MetaCompression) -> None:
    for subject in Subject:
        for method in Method:
            sizes = [point.bytes for point in points(result, subject, method)]
            assert sizes == sorted(sizes, reverse=True)


def test_the_predictor_as_it_is_takes_the_bytes_of_the_file_without_its_header(
    encoding: Path, result: MetaCompression
) -> None:
    sizes = measure_sizes(encoding)
    unpruned = points(result, Subject.NERN, Method.PRUNING)[0]
    assert unpruned.bytes == sizes.file - sizes.header
    assert unpruned.accuracy == result.encoding_accuracy


def test_the_original_unpruned_takes_half_precision_and_the_tensors_that_are_kept(
    encoding: Path, result: MetaCompression
) -> None:
    contents = read_encoding(encoding)
    weights = sum(layer.weights for layer in contents.document.layers)
    kept = measure_sizes(encoding).kept
    unpruned = points(result, Subject.ORIGINAL, Method.PRUNING)[0]
    assert unpruned.bytes == 2 * weights + kept
    assert unpruned.accuracy == pytest.approx(result.original_accuracy, abs=0.5)


def test_pruning_most_of_it_costs_accuracy(result: MetaCompression) -> None:
    for subject in Subject:
        measured = points(result, subject, Method.PRUNING)
        assert measured[-1].accuracy < measured[0].accuracy - 5


def test_the_verdicts_are_those_of_the_points(result: MetaCompression) -> None:
    assert result.verdicts == verdicts(result.points)
    assert [sentence.partition(":")[0] for sentence in result.verdicts] == ["Pruning", "Quantization"]


def test_the_chart_names_all_four_curves(result: MetaCompression) -> None:
    drawn = draw_sweep(result)
    assert drawn == draw_sweep(result)
    assert "<svg" in drawn
