"""Checkpoints of any content: kept tensors survive bit for bit, represented ones keep name, shape and dtype."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions, Permutation
from nern_core.contract.report import Report
from nern_core.decoder import decode
from nern_core.encoder import encode
from nern_core.representations.files import read_encoding
from nern_core.tensors.checkpoint import read_checkpoint

DTYPES = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.int8,
    torch.uint8,
    torch.int32,
    torch.int64,
    torch.bool,
]


def run(folder: Path, tensors: dict[str, torch.Tensor], **options: Any) -> Report:
    torch.save(tensors, folder / "w.pt")
    return encode(
        folder / "w.pt", folder / "x.nern", EncodeOptions(**({"hidden_size": 8, "steps": 2} | options))
    ).report


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@st.composite
def kept_tensors(draw: st.DrawFn) -> torch.Tensor:
    """Draw small tensors of every dtype, including 0-d, empty and transposed ones, with any finite values."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    values = torch.randint(-9, 9, shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    tensor = (values / 3).to(dtype)
    return tensor.transpose(0, -1) if len(shape) > 1 and draw(st.booleans()) else tensor


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.dictionaries(st.sampled_from(["a", "b.c", "bias", "layer.1", "é"]), kept_tensors()))
def test_what_is_kept_survives_bit_for_bit(tmp_path: Path, kept: dict[str, torch.Tensor]) -> None:
    conv = {"conv": torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(0))}
    run(tmp_path, kept | conv)
    decoded = decode(tmp_path / "x.nern").tensors
    assert list(decoded) == [*kept, "conv"]
    for name, tensor in kept.items():
        assert (decoded[name].dtype, decoded[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(decoded[name]) == bits(tensor)


@pytest.mark.parametrize("shape", [(4, 2, 2**14), (4, 2, 1, 600), (4, 2, 2, 512), (4, 1, 16, 16, 16)])
def test_tensors_with_long_spatial_axes_are_quantized_close_to_the_original(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    torch.save({"w": tensor}, tmp_path / "w.pt")
    encode(tmp_path / "w.pt", tmp_path / "x.nern")
    decoded = decode(tmp_path / "x.nern").tensors["w"]
    assert decoded.shape == shape
    assert (decoded - tensor).norm() < 0.2 * tensor.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("permutation", list(Permutation))
def test_kernels_of_every_shape_keep_name_shape_and_dtype(
    tmp_path: Path, dtype: torch.dtype, permutation: Permutation
) -> None:
    shapes = {
        "conv2": (8, 8, 2, 2),
        "conv5": (8, 8, 5, 5),
        "rectangular": (8, 8, 1, 7),
        "pointwise": (16, 20, 1, 1),
        "depthwise": (32, 1, 3, 3),
        "conv1d": (8, 8, 5),
        "conv3d": (8, 8, 3, 3, 3),
        "linear": (16, 37),
    }
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    report = run(tmp_path, tensors, kernels="all", permutation=permutation, steps=20)
    assert report.represented_share == 1.0
    for name, tensor in decode(tmp_path / "x.nern").tensors.items():
        assert (tensor.shape, tensor.dtype) == (tensors[name].shape, dtype)
        assert tensor.is_contiguous()
        assert tensor.isfinite().all()
        assert tensor.any()


def test_tensors_of_several_precisions_keep_their_own(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {str(d): torch.randn(8, 8, 3, 3, generator=generator).to(d) for d in DTYPES[:4]}
    run(tmp_path, tensors)
    assert [tensor.dtype for tensor in decode(tmp_path / "x.nern").tensors.values()] == DTYPES[:4]


def test_tied_tensors_are_stored_once_and_decoded_each_on_its_own(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(32, 16, generator=generator)
    bias = torch.randn(100, generator=generator)
    tensors = {"embed.weight": embedding, "b1": bias, "head.weight": embedding, "b2": bias.clone()}
    report = run(tmp_path, tensors, kernels=["head.weight"])
    encoding = read_encoding(tmp_path / "x.nern")
    assert encoding.document.tied == {"head.weight": "embed.weight", "b2": "b1"}
    assert [layer.name for layer in report.layers] == ["embed.weight"]
    assert list(encoding.kept) == ["b1"]
    decoded = decode(tmp_path / "x.nern").tensors
    assert list(decoded) == list(tensors)
    assert torch.equal(decoded["head.weight"], decoded["embed.weight"])
    assert len({tensor.data_ptr() for tensor in decoded.values()}) == 4


def test_a_pruned_network_is_encoded(tmp_path: Path) -> None:
    weight = torch.randn(16, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[::2] = 0
    weight[:, ::3] = 0
    report = run(tmp_path, {"conv": weight}, steps=200, hidden_size=32)
    assert report.metrics.relative_error < 0.7


def test_patterns_choose_what_is_represented(tmp_path: Path) -> None:
    tensors = {"a.conv": torch.ones(8, 8, 3, 3), "b.conv": torch.rand(8, 8, 3, 3), "fc": torch.rand(8, 8)}
    for kernels, expected in (
        ("fc", ["fc"]),
        (["spatial", "!a.*"], ["b.conv"]),
        (["*.conv", "fc"], ["a.conv", "b.conv", "fc"]),
    ):
        report = run(tmp_path, tensors, kernels=kernels)
        assert [layer.name for layer in report.layers] == expected
        assert report.options.kernels == ((kernels,) if isinstance(kernels, str) else tuple(kernels))


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NernError, match=r"'conv9\.\*'"):
        run(tmp_path, {"conv1": torch.ones(8, 8, 3, 3)}, kernels="conv9.*")


def test_a_checkpoint_of_matrices_needs_the_word_all(tmp_path: Path) -> None:
    tensors = {"fc": torch.randn(32, 32, generator=torch.Generator().manual_seed(0))}
    with pytest.raises(NernError, match="the option `kernels` to `all`"):
        run(tmp_path, tensors)
    assert run(tmp_path, tensors, kernels="all").represented_weights == 1024
    assert list(read_checkpoint(tmp_path / "w.pt").tensors) == list(decode(tmp_path / "x.nern").tensors)
