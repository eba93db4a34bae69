from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from nern_core.contract.catalogue import RecipeName
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions, Permutation
from nern_core.contract.progress import Phase, Progress
from nern_core.contract.report import Report
from nern_core.decoder import decode, decode_layer
from nern_core.encoder import encode
from nern_core.networks import find_architecture
from nern_core.networks.evaluate import evaluate_checkpoint
from nern_core.recipes.fast import FAST
from nern_core.representations.files import read_encoding
from nern_core.representations.predicted import predictions
from nern_core.representations.predicted.embedding import FourierEncoding
from nern_core.representations.predicted.predictor import PredictorVariant
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.training.teacher import StrongerTeacher
from tests.conftest import DIGITS, EXAMPLE
from tests.nern_core.quick_recipes import QUICK_RECIPES

WITH_DATA: dict[str, Any] = {"architecture": "digits-cnn", "dataset": str(DIGITS)}


def run(folder: Path, checkpoint: Path = EXAMPLE, **options: Any) -> Report:
    whole = EncodeOptions(**({"hidden_size": 24, "steps": 10} | options))
    return encode(checkpoint, folder / "x.nern", whole, recipe=QUICK_RECIPES[whole.recipe]).report


@pytest.mark.parametrize(
    ("recipe", "permutation"),
    [
        *((RecipeName.FAST, permutation) for permutation in Permutation),
        (RecipeName.DATA_FREE, Permutation.IN_FILTER),
        (RecipeName.PAPER, Permutation.CROSS_FILTER),
    ],
)
def test_every_recipe_and_permutation_ends_in_a_file_that_decodes(
    tmp_path: Path, recipe: RecipeName, permutation: Permutation
) -> None:
    report = run(tmp_path, recipe=recipe, permutation=permutation, **WITH_DATA)
    tensors = decode(tmp_path / "x.nern").tensors
    assert list(tensors) == list(read_checkpoint(EXAMPLE).tensors)
    assert report.metrics.file_bytes == (tmp_path / "x.nern").stat().st_size
    assert (report.metrics.permutation_bytes == 0) == (permutation is Permutation.NONE)


def test_the_reported_accuracy_is_that_of_the_decoded_file(tmp_path: Path) -> None:
    report = run(tmp_path, steps=100, **WITH_DATA)
    decoded = decode(tmp_path / "x.nern")
    assert report.metrics.reconstructed_accuracy == evaluate_checkpoint(decoded, "digits-cnn", DIGITS)
    assert report.metrics.original_accuracy == evaluate_checkpoint(read_checkpoint(EXAMPLE), "digits-cnn", DIGITS)


def test_the_reported_error_is_that_of_the_decoded_weights(tmp_path: Path) -> None:
    report = run(tmp_path)
    original, decoded = read_checkpoint(EXAMPLE).tensors, decode(tmp_path / "x.nern").tensors
    names = [layer.name for layer in report.layers]
    error = torch.cat([(decoded[n] - original[n]).double().flatten() for n in names]).norm()
    norm = torch.cat([original[n].double().flatten() for n in names]).norm()
    assert report.metrics.relative_error == pytest.approx(float(error / norm), abs=1e-6)


def test_what_is_returned_is_decoded_from_the_finished_file(tmp_path: Path) -> None:
    returned = encode(EXAMPLE, tmp_path / "x.nern", EncodeOptions(hidden_size=24, steps=3)).comparison.decoded.tensors
    decoded = decode(tmp_path / "x.nern").tensors
    assert list(returned) == list(decoded)
    assert all(torch.equal(returned[name], decoded[name]) for name in decoded)


def test_what_is_not_represented_is_kept_exactly(tmp_path: Path) -> None:
    run(tmp_path)
    original, decoded = read_checkpoint(EXAMPLE).tensors, decode(tmp_path / "x.nern").tensors
    kept = [name for name in original if original[name].ndim != 4]
    assert len(kept) == 17
    assert all(torch.equal(decoded[name], original[name]) for name in kept)


def test_kernels_may_share_coordinates(tmp_path: Path) -> None:
    run(tmp_path, kernels_per_coordinate=4)
    encoding, original = read_encoding(tmp_path / "x.nern"), read_checkpoint(EXAMPLE).tensors
    layers = {layer.name: layer for layer in encoding.document.layers}
    assert {name: layer.tile for name, layer in layers.items()} == {
        "features.0.weight": None,
        "features.3.weight": 36,
        "features.7.weight": 36,
    }
    decoded = decode(tmp_path / "x.nern").tensors
    for name, tensor in original.items():
        assert (decoded[name].shape, decoded[name].dtype) == (tensor.shape, tensor.dtype)
    for name, layer in layers.items():
        assert layer.kernels * layer.kernel_values == original[name].numel()
        assert torch.equal(decode_layer(encoding, name), decoded[name])


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    contents = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folder = tmp_path / name
        folder.mkdir()
        run(folder, seed=seed, steps=20, **WITH_DATA)
        contents.append((folder / "x.nern").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_the_same_seed_gives_the_same_file_where_some_kernels_pass_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_MOST_ACTIVATIONS", 24 * 1000)
    contents = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        run(folder, kernels="all", steps=20, **WITH_DATA)
        contents.append((folder / "x.nern").read_bytes())
    assert contents[0] == contents[1]


def test_training_makes_the_error_smaller(tmp_path: Path) -> None:
    short, long = (run(tmp_path, steps=steps).metrics.relative_error for steps in (2, 150))
    assert long < 0.8 * short


@pytest.mark.slow
def test_distillation_brings_back_the_accuracy(tmp_path: Path) -> None:
    report = run(tmp_path, hidden_size=64, steps=900, **WITH_DATA)
    assert report.metrics.original_accuracy == 99.4
    assert report.metrics.reconstructed_accuracy is not None
    assert report.metrics.reconstructed_accuracy >= 97.5


def test_the_phases_come_in_order_and_the_fraction_only_grows(tmp_path: Path) -> None:
    seen: list[Progress] = []
    encode(EXAMPLE, tmp_path / "x.nern", EncodeOptions(hidden_size=8, steps=30, **WITH_DATA), seen.append)
    phases = list(dict.fromkeys(progress.phase for progress in seen))
    assert phases == sorted(phases, key=list(Phase).index)
    assert {Phase.RECONSTRUCTION, Phase.DISTILLATION, Phase.EVALUATION} <= set(phases)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_in_several_rounds_the_phases_and_steps_still_come_in_order(tmp_path: Path) -> None:
    seen: list[Progress] = []
    options = EncodeOptions(hidden_size=8, steps=50, rounds=3, **WITH_DATA)
    result = encode(EXAMPLE, tmp_path / "x.nern", options, seen.append)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    steps = [progress.step for progress in seen if progress.phase is Phase.RECONSTRUCTION]
    assert steps == sorted(steps)
    assert {progress.total for progress in seen if progress.phase is Phase.RECONSTRUCTION and progress.step} == {45}
    assert steps[-1] == 45
    assert result.report.options.rounds == read_encoding(tmp_path / "x.nern").document.options.rounds == 3


def test_with_quantized_weights_the_total_of_steps_is_the_budget_from_the_first_step_on(tmp_path: Path) -> None:
    seen: list[Progress] = []
    encode(EXAMPLE, tmp_path / "x.nern", EncodeOptions(steps=40, max_drop=0.5, **WITH_DATA), seen.append)
    assert {progress.total for progress in seen if progress.phase is Phase.DISTILLATION and progress.step} == {40}


def test_a_target_that_saves_nothing_is_noted(tmp_path: Path) -> None:
    size = sum(tensor.nbytes for tensor in read_checkpoint(EXAMPLE).tensors.values())
    report = encode(EXAMPLE, tmp_path / "x.nern", EncodeOptions(target_bytes=10**9)).report
    assert (
        f"The target of 1,000,000,000 bytes is not smaller than the checkpoint's tensors, {size:,} bytes; "
        "choose a smaller one to save space."
    ) in report.metrics.notes


def test_the_reported_error_of_several_rounds_is_against_the_original(tmp_path: Path) -> None:
    report = run(tmp_path, steps=300, rounds=2)
    original, decoded = read_checkpoint(EXAMPLE).tensors, decode(tmp_path / "x.nern").tensors
    names = [layer.name for layer in report.layers]
    error = torch.cat([(decoded[n] - original[n]).double().flatten() for n in names]).norm()
    norm = torch.cat([original[n].double().flatten() for n in names]).norm()
    assert report.metrics.relative_error == pytest.approx(float(error / norm), abs=1e-6)
    assert report.metrics.relative_error < 0.9


VARIANTS = [
    PredictorVariant(activation="sine", connections="skip", encoding=FourierEncoding(seed=3)),
    PredictorVariant(activation="silu", connections="residual"),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=["sine, skip, fourier", "silu, residual"])
def test_a_file_says_how_its_predictor_is_built(tmp_path: Path, variant: PredictorVariant) -> None:
    options = EncodeOptions(hidden_size=24, steps=150)
    result = encode(
        EXAMPLE, tmp_path / "x.nern", options, recipe=replace(FAST, predictor=replace(FAST.predictor, variant=variant))
    )
    assert read_encoding(tmp_path / "x.nern").weights.description.predictor.variant == variant
    assert result.report.metrics.relative_error < 0.95


def test_a_stronger_teacher_changes_what_distillation_leads_to(tmp_path: Path) -> None:
    torch.manual_seed(1)
    torch.save(find_architecture("digits-cnn").build(10).state_dict(), tmp_path / "teacher.pt")
    stronger = StrongerTeacher(checkpoint=tmp_path / "teacher.pt", architecture="digits-cnn")
    options = EncodeOptions(hidden_size=24, steps=20, **WITH_DATA)
    contents = []
    for teacher in (None, stronger):
        encode(EXAMPLE, tmp_path / "x.nern", options, stronger_teacher=teacher)
        contents.append((tmp_path / "x.nern").read_bytes())
    assert contents[0] != contents[1]


@pytest.mark.parametrize(
    ("options", "code"),
    [({}, "teacher_without_data"), (WITH_DATA | {"recipe": RecipeName.PAPER}, "teacher_features")],
)
def test_a_stronger_teacher_that_cannot_teach_is_refused_at_the_start(
    tmp_path: Path, options: dict[str, Any], code: str
) -> None:
    stronger = StrongerTeacher(checkpoint=EXAMPLE, architecture="digits-cnn")
    with pytest.raises(NernError) as error:
        encode(EXAMPLE, tmp_path / "x.nern", EncodeOptions(**options), stronger_teacher=stronger)
    assert error.value.code == code
    assert not (tmp_path / "x.nern").exists()


def test_a_budget_in_seconds_is_kept(tmp_path: Path) -> None:
    report = encode(EXAMPLE, tmp_path / "x.nern", EncodeOptions(hidden_size=24, seconds=3)).report
    assert report.metrics.seconds["reconstruction"] == pytest.approx(3, abs=1.5)


def test_layers_are_in_network_order_whatever_the_file_says(tmp_path: Path) -> None:
    tensors = safetensors.torch.load_file(EXAMPLE)
    torch.save(dict(reversed(tensors.items())), tmp_path / "reversed.pt")
    report = run(tmp_path, tmp_path / "reversed.pt", architecture="digits-cnn")
    names = [layer.name for layer in report.layers]
    assert names == ["features.0.weight", "features.3.weight", "features.7.weight"]
    assert list(decode(tmp_path / "x.nern").tensors) == list(reversed(tensors))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_checkpoint_of_another_precision_keeps_it(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in safetensors.torch.load_file(EXAMPLE).items()
    }
    torch.save(tensors, tmp_path / "w.pt")
    run(tmp_path, tmp_path / "w.pt", **WITH_DATA)
    assert {tensor.dtype for tensor in decode(tmp_path / "x.nern").tensors.values()} == {dtype, torch.int64}


def test_constant_and_zero_layers_are_encoded(tmp_path: Path) -> None:
    torch.save({"zero": torch.zeros(8, 4, 3, 3), "one": torch.ones(8, 4, 3, 3)}, tmp_path / "w.pt")
    report = run(tmp_path, tmp_path / "w.pt", steps=200)
    assert report.metrics.relative_error < 0.2


def test_kernels_of_several_shapes_are_encoded_together(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save({"stem": torch.randn(8, 3, 7, 7), "body": torch.randn(8, 8, 3, 3)}, tmp_path / "w.pt")
    run(tmp_path, tmp_path / "w.pt")
    shapes = {name: tensor.shape for name, tensor in decode(tmp_path / "x.nern").tensors.items()}
    assert shapes == {"stem": (8, 3, 7, 7), "body": (8, 8, 3, 3)}


def test_a_torchvision_classifier_is_encoded_with_data(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = find_architecture("torchvision:squeezenet1_1").build(5).state_dict()
    torch.save(tensors, tmp_path / "w.pt")
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        images = generator.integers(0, 256, (6, 80, 70, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{split}.npz", images=images, labels=np.arange(6) % 5)
    (tmp_path / "dataset.json").write_text('{"input_size": 64}')
    run(
        tmp_path,
        tmp_path / "w.pt",
        architecture="torchvision:squeezenet1_1",
        dataset=str(tmp_path),
        permutation=Permutation.IN_FILTER,
        steps=4,
    )
    decoded = decode(tmp_path / "x.nern").tensors
    assert {n: t.shape for n, t in decoded.items()} == {n: t.shape for n, t in tensors.items()}
    assert torch.equal(decoded["classifier.1.weight"], tensors["classifier.1.weight"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NernError) as error:
        run(tmp_path, device="gpu")
    assert error.value.code == "no_gpu"


def test_labels_outside_of_the_classes_are_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.array([0, 1, 2, 12]))
    with pytest.raises(NernError, match="has the label 12, but the network has 10 classes"):
        run(tmp_path, architecture="digits-cnn", dataset=str(tmp_path))
