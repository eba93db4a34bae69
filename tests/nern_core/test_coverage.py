"""Checkpoints of many kinds: tensors are represented or kept, and errors measured."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.contract.report import Report
from nern_core.decoder import decode
from nern_core.encoder import encode
from nern_core.representations.files import read_encoding

PREDICTOR: dict[str, Any] = {"representation": "predictor", "hidden_size": 8, "steps": 3}
QUANTIZED: dict[str, Any] = {"target_ratio": 6.0}


def weights(*shape: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    normal = torch.randn(*shape, generator=generator)
    return normal * (scale / math.sqrt(shape[-1]))


def encoded(folder: Path, tensors: dict[str, torch.Tensor], **options: Any) -> Report:
    save_file(tensors, folder / "x.safetensors")
    return encode(folder / "x.safetensors", folder / "x.nern", EncodeOptions(**options)).report


@pytest.mark.parametrize(
    "tensors",
    [
        {"experts.up": weights(8, 64, 48), "experts.down": weights(8, 48, 64), "router.weight": weights(8, 64)},
        {f"conv{index}.weight": weights(16, 8 + index, 64, 1) for index in range(4)},
        {"lora_A.weight": weights(8, 768), "lora_B.weight": weights(768, 8)},
        {"positions": weights(1, 197, 64), "class_token": weights(1, 1, 768)},
    ],
    ids=["experts", "sides-of-64", "eight-columns", "positions"],
)
def test_every_floating_point_tensor_of_two_and_more_axes_is_represented(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    report = encoded(tmp_path, tensors, **QUANTIZED)
    assert {layer.name for layer in report.layers} == tensors.keys()
    assert report.metrics.ratio >= 6
    assert max(report.metrics.layer_errors.values()) < 0.1
    assert report.metrics.notes == ()


@pytest.mark.parametrize("kernels", ["spatial", "conv.*"])
def test_what_is_left_out_is_named_with_its_bytes_and_the_word_that_takes_it(kernels: str, tmp_path: Path) -> None:
    tensors = {"conv.weight": weights(16, 8, 3, 3), "fc.weight": weights(64, 100)}
    report = encoded(tmp_path, tensors, kernels=kernels, target_bytes=29_000)
    (note,) = report.metrics.notes
    assert note == (
        "These tensors are kept exactly but could be represented: 'fc.weight' (25,600 bytes); `all` for the option "
        "`kernels` represents them."
    )


@pytest.mark.parametrize(("kernels", "word"), [(None, "`spatial`"), ("all", "`all`"), ("conv.*", "the others")])
def test_what_a_predictor_leaves_out_is_taken_by_a_pattern_beside_the_word(
    kernels: str | None, word: str, tmp_path: Path
) -> None:
    # A head for tiles would have more parameters than the matrix.
    tensors = {"conv.weight": weights(64, 64, 3, 3), "fc.weight": weights(8, 100)}
    note = encoded(tmp_path, tensors, **(PREDICTOR | {"hidden_size": 64, "kernels": kernels})).metrics.notes[-1]
    assert note.endswith(f"add patterns for their names to {word} in the option `kernels`, such as 'fc.weight'.")


def test_what_the_user_excludes_is_not_named_as_left_out(tmp_path: Path) -> None:
    tensors = {"conv.weight": weights(16, 8, 3, 3), "fc.weight": weights(64, 100)}
    assert encoded(tmp_path, tensors, kernels=("all", "!fc.*")).metrics.notes == ()


def test_exclusions_alone_leave_everything_else_represented(tmp_path: Path) -> None:
    tensors = {"a.weight": weights(64, 64), "b.weight": weights(64, 48), "nan.weight": weights(64, 64) * math.nan}
    report = encoded(tmp_path, tensors, kernels="!nan.weight")
    assert [layer.name for layer in report.layers] == ["a.weight", "b.weight"]
    assert report.metrics.notes == ()


def test_what_the_user_excludes_is_not_named_where_a_target_has_no_room_for_it(tmp_path: Path) -> None:
    tensors = {"conv.weight": weights(16, 8, 3, 3), "fc.weight": weights(64, 100)}
    with pytest.raises(NernError, match=r"use a target of at least [\d,]+ bytes\.$"):
        encoded(tmp_path, tensors, kernels="!fc.*", target_bytes=10_000)


def test_what_is_left_out_is_named_where_a_target_has_no_room_for_it(tmp_path: Path) -> None:
    tensors = {"conv.weight": weights(16, 8, 3, 3), "fc.weight": weights(64, 100)}
    with pytest.raises(NernError, match=r"use a target of .*kept exactly.*'fc.weight' \(25,600 bytes\)"):
        encoded(tmp_path, tensors, kernels=("spatial",), target_bytes=10_000)


@pytest.mark.parametrize("options", [PREDICTOR, QUANTIZED], ids=["predictor", "quantized"])
@pytest.mark.parametrize("scale", [1e-290, 1e-30, 1e19, 1e25, 1e37, 1e300])
def test_weights_of_any_size_are_encoded_and_their_errors_measured(
    scale: float, options: dict[str, Any], tmp_path: Path
) -> None:
    dtype = torch.float32 if 1e-37 < scale < 1e38 else torch.float64
    huge = (weights(16, 16, 3, 3).double() * scale).to(dtype)
    report = encoded(tmp_path, {"a": huge, "b": weights(16, 16, 3, 3)}, **options)
    errors = report.metrics.layer_errors
    assert 0.001 < errors["a"] < (0.2 if options is QUANTIZED else 3)
    assert errors["a"] == pytest.approx(errors["b"], rel=0.5 if options is QUANTIZED else 1)


def test_weights_below_the_smallest_step_have_an_error_that_is_not_zero(tmp_path: Path) -> None:
    tiny = weights(16, 16, 3, 3).double() * 1e-300
    report = encoded(tmp_path, {"a": tiny, "b": weights(16, 16, 3, 3)}, **QUANTIZED)
    assert 0.001 < report.metrics.layer_errors["a"] < 0.2


def test_the_largest_number_of_a_dtype_stays_finite(tmp_path: Path) -> None:
    halves = (weights(16, 16, 3, 3).clamp(-0.1, 0.1) * 655_040).half()
    assert halves.abs().max() == 65_504
    encoded(tmp_path, {"a": halves}, **QUANTIZED)
    assert decode(tmp_path / "x.nern").tensors["a"].isfinite().all()


@pytest.mark.parametrize("options", [PREDICTOR, QUANTIZED], ids=["predictor", "quantized"])
def test_layers_of_zeros_stay_zero(options: dict[str, Any], tmp_path: Path) -> None:
    report = encoded(tmp_path, {"a": torch.zeros(16, 16, 3, 3), "b": weights(16, 16, 3, 3)}, **options)
    assert not decode(tmp_path / "x.nern").tensors["a"].any()
    assert report.metrics.layer_errors["a"] == 0


def test_errors_of_a_predictor_are_alike_in_layers_of_different_scale(tmp_path: Path) -> None:
    tensors = {f"{name}{index}": weights(16, 16, 3, 3, scale=scale) for index in range(2) for name, scale in SCALES}
    report = encoded(tmp_path, tensors, **(PREDICTOR | {"hidden_size": 96, "steps": 60}))
    errors = report.metrics.layer_errors
    assert errors["small0"] == pytest.approx(errors["large0"], rel=0.2)


SCALES = (("large", 1.0), ("small", 0.02))


def test_lost_layers_are_named_once_by_the_verdict_if_no_accuracy_is_measured(tmp_path: Path) -> None:
    metrics = encoded(tmp_path, {"lost.weight": weights(32, 32, 3, 3)}, **PREDICTOR).metrics
    assert metrics.verdict is not None
    assert metrics.verdict.sentence.endswith("Little is left of the layer 'lost.weight'.")
    assert metrics.notes == ()


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_that_are_no_numbers_are_kept_exactly(value: float, tmp_path: Path) -> None:
    bias = torch.tensor([1.0, value])
    encoded(tmp_path, {"a": weights(16, 16), "bias": bias}, target_bytes=4000)
    assert torch.equal(decode(tmp_path / "x.nern").tensors["bias"].view(torch.int32), bias.view(torch.int32))


def test_masks_are_kept_exactly_whatever_is_represented(tmp_path: Path) -> None:
    mask = torch.full((1, 1, 64, 64), float("-inf")).triu(diagonal=1)
    encoded(tmp_path, {"a": weights(64, 64), "mask": mask}, target_bytes=4000)
    assert torch.equal(decode(tmp_path / "x.nern").tensors["mask"], mask)
    assert [layer.name for layer in read_encoding(tmp_path / "x.nern").document.layers] == ["a"]


def test_kept_tensors_are_compressed_without_a_loss(tmp_path: Path) -> None:
    kept = weights(20_000)
    report = encoded(tmp_path, {"a": weights(16, 16, 3, 3), "kept": kept}, target_bytes=100_000)
    assert torch.equal(decode(tmp_path / "x.nern").tensors["kept"], kept)
    assert report.metrics.kept_bytes < 0.93 * kept.nbytes


def test_a_ratio_is_of_the_tensors_and_not_of_what_else_the_file_holds(tmp_path: Path) -> None:
    matrix = weights(128, 128)
    state = {"state_dict": {"a": matrix}, "optimizer": {"state": {0: {"exp_avg": weights(256, 256)}}}}
    torch.save(state, tmp_path / "x.pt")
    report = encode(tmp_path / "x.pt", tmp_path / "x.nern", EncodeOptions(target_ratio=4.0)).report
    assert report.metrics.source_bytes > 5 * matrix.nbytes
    assert report.metrics.tensor_bytes == matrix.nbytes
    assert 4 <= report.metrics.ratio < 4.2


def test_weights_that_are_int8_already_are_refused_as_such(tmp_path: Path) -> None:
    tensors = {"fc.weight": torch.ones(64, 64, dtype=torch.int8), "fc.scale": weights(64, 1)}
    with pytest.raises(NernError, match="its weights are already int8; only floating-point weights can be represented"):
        encoded(tmp_path, tensors, **QUANTIZED)


def test_a_name_with_a_digit_that_is_no_number_is_a_name(tmp_path: Path) -> None:
    encoded(tmp_path, {"1²": weights(64, 64), "10": weights(64, 64)}, **QUANTIZED)
    assert set(decode(tmp_path / "x.nern").tensors) == {"1²", "10"}
