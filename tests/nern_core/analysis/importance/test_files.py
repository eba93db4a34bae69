import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nern_core.analysis.comparison import open_comparison
from nern_core.analysis.importance import Criterion, Granularity, Importance, Measured, PruningOrder, measure, write
from nern_core.analysis.importance.measure import _remarks
from nern_core.analysis.importance.pruning import SHARES
from nern_core.analysis.importance.scores import score
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.contract.progress import Phase, Progress
from nern_core.decoder import decode
from nern_core.encoder import encode
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.networks.evaluate import open_evaluator
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import DIGITS, EXAMPLE

LAYERS = {"features.0.weight": (32, 3), "features.3.weight": (64, 32), "features.7.weight": (64, 64)}
IMAGES = 50


@pytest.fixture(scope="module")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("importance") / "digits.nern"
    encode(EXAMPLE, path, EncodeOptions(architecture="digits-cnn", hidden_size=16, steps=20))
    return path


@pytest.fixture(scope="module")
def told() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def measured(encoding: Path, told: list[Progress]) -> Measured:
    return measure(open_comparison(EXAMPLE, encoding), dataset=DIGITS, images=IMAGES, on_progress=told.append)


def accuracies(measured: Measured, granularity: Granularity, order: PruningOrder) -> dict[float, float]:
    points = measured.importance.pruning
    return {point.share: point.accuracy for point in points if (point.granularity, point.order) == (granularity, order)}


def test_every_share_is_measured_in_every_order(measured: Measured) -> None:
    original = open_evaluator("digits-cnn", DIGITS, images=IMAGES).accuracy(read_checkpoint(EXAMPLE).tensors)
    for granularity in Granularity:
        for order in PruningOrder:
            found = accuracies(measured, granularity, order)
            assert tuple(found) == SHARES
            assert found[0.0] == original
    assert (measured.importance.images, measured.importance.remarks) == (IMAGES, ())


def test_a_point_is_the_accuracy_of_the_network_whose_smallest_kernels_are_zero(measured: Measured) -> None:
    tensors = dict(read_checkpoint(EXAMPLE).tensors)
    norms = torch.cat([tensors[name].square().sum(dim=(2, 3)).flatten() for name in LAYERS])
    threshold = norms.sort().values[round(0.4 * len(norms)) - 1]
    for name in LAYERS:
        small = tensors[name].square().sum(dim=(2, 3), keepdim=True) <= threshold
        tensors[name] = tensors[name].masked_fill(small, 0)
    expected = open_evaluator("digits-cnn", DIGITS, images=IMAGES).accuracy(tensors)
    assert accuracies(measured, Granularity.KERNEL, PruningOrder.SMALLEST_MAGNITUDE)[0.4] == expected


def test_progress_counts_the_points_of_the_curve(measured: Measured, told: list[Progress]) -> None:
    assert {progress.phase for progress in told} == {Phase.IMPORTANCE}
    steps = [progress.step for progress in told]
    assert steps == sorted(steps)
    assert (steps[-1], told[-1].fraction) == (len(measured.importance.pruning), 1.0)


def test_the_scores_are_a_safetensors_file_that_names_what_they_belong_to(
    measured: Measured, encoding: Path, tmp_path: Path
) -> None:
    write(measured, tmp_path)
    with safetensors.safe_open(tmp_path / "importance.safetensors", framework="pt") as file:
        metadata = json.loads(file.metadata()["nern"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # its own method
    assert metadata["source_sha256"] == measured.importance.source_sha256
    assert metadata["encoding_sha256"] == measured.importance.encoding_sha256
    criteria = ("reconstruction-error", "magnitude", "fisher")
    assert set(tensors) == {f"{g}.{c}.{layer}" for g in Granularity for c in criteria for layer in LAYERS}
    for layer, shape in LAYERS.items():
        assert tensors[f"kernel.magnitude.{layer}"].shape == shape
        assert tensors[f"filter.magnitude.{layer}"].shape == shape[:1]
    torch.testing.assert_close(tensors["kernel.reconstruction-error.features.3.weight"], relative_errors(encoding))


def relative_errors(encoding: Path) -> Tensor:
    original, decoded = (
        tensors["features.3.weight"] for tensors in (read_checkpoint(EXAMPLE).tensors, decode(encoding).tensors)
    )
    errors: Tensor = (original - decoded).flatten(2).norm(dim=2) / original.flatten(2).norm(dim=2)
    return errors


def test_the_document_and_the_curve_are_written_beside_them(measured: Measured, tmp_path: Path) -> None:
    files = write(measured, tmp_path)
    assert [file.name for file in files] == ["importance.json", "importance.safetensors", "pruning-curve.svg"]
    assert Importance.model_validate_json(files[0].read_text()) == measured.importance
    texts = {
        "".join(text.itertext())
        for text in ET.fromstring(files[2].read_text()).iter("{http://www.w3.org/2000/svg}text")
    }
    assert {order.replace("-", " ") for order in PruningOrder} <= texts
    assert {"digits-cnn, kernels", "digits-cnn, filters"} <= texts


def test_the_same_files_give_the_same_results(measured: Measured, encoding: Path, tmp_path: Path) -> None:
    again = measure(open_comparison(EXAMPLE, encoding), dataset=DIGITS, images=IMAGES)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = (write(found, tmp_path / name) for found, name in ((measured, "first"), (again, "second")))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_without_data_there_are_scores_and_rankings_and_a_remark(encoding: Path, tmp_path: Path) -> None:
    measured = measure(open_comparison(EXAMPLE, encoding))
    files = write(measured, tmp_path)
    assert [file.name for file in files] == ["importance.json", "importance.safetensors"]
    document = json.loads(files[0].read_text())
    assert {ranking["criterion"] for ranking in document["rankings"]} == {"reconstruction-error", "magnitude"}
    assert (document["images"], document["pruning"]) == (0, [])
    assert document["remarks"] == [
        "No Fisher information and no pruning curve: they need an architecture and a data set."
    ]


def test_an_encoding_of_another_checkpoint_is_refused(encoding: Path, tmp_path: Path) -> None:
    tensors = {name: tensor.clone() for name, tensor in read_checkpoint(EXAMPLE).tensors.items()}
    tensors["features.0.weight"] += 1
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file(tensors, other)
    with pytest.raises(NernError, match="was not made from") as caught:
        measure(open_comparison(other, encoding))
    assert caught.value.code == "another_checkpoint"


def test_data_without_an_architecture_is_refused(tmp_path: Path) -> None:
    encoding = tmp_path / "nameless.nern"
    encode(EXAMPLE, encoding, EncodeOptions(hidden_size=8, steps=1))
    with pytest.raises(NernError, match="give --architecture") as caught:
        measure(open_comparison(EXAMPLE, encoding), dataset=DIGITS)
    assert caught.value.code == "no_architecture"
    measured = measure(open_comparison(EXAMPLE, encoding), dataset=DIGITS, architecture="digits-cnn", images=5)
    assert measured.importance.images == 5


def test_matrices_are_scored_tile_by_tile(tmp_path: Path) -> None:
    encoding = tmp_path / "all.nern"
    encode(EXAMPLE, encoding, EncodeOptions(architecture="digits-cnn", kernels=("all",), hidden_size=8, steps=1))
    scores = measure(open_comparison(EXAMPLE, encoding), dataset=DIGITS, images=5).scores
    for criterion in scores.complete:
        assert scores.by_layer[Granularity.KERNEL, criterion]["classifier.weight"].shape == (10, 4)
    assert scores.complete == tuple(Criterion)


def test_fisher_information_that_is_not_known_of_all_layers_is_remarked_on() -> None:
    layers = tuple(KernelLayer(name=name, shape=(2, 2, 3, 3), tile=None, dtype="float32") for name in ("a", "b"))
    tensors = {layer.name: torch.ones(layer.shape) for layer in layers}
    scores = score(layers, tensors, tensors, {"a": torch.ones(2, 2)})
    assert list(_remarks(scores, measured=True)) == [
        "The Fisher information is known for only 1 of 2 layers, so it is not used for ranking or pruning."
    ]
