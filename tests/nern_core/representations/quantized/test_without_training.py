import io
import re

import pytest
import torch
import zstandard
from torch import nn

from nern_core.codec.streams import pack_layers
from nern_core.contract.errors import NernError
from nern_core.representations.quantized.quantizer import Quantized, Quantizer
from nern_core.representations.quantized.weights import decoded_tensor
from nern_core.representations.quantized.without_training import (
    int8_bytes,
    quantize_faithfully,
    quantize_without_training,
)
from nern_core.tensors.kernels import select_layers
from nern_core.tensors.rounding import round_to_nearest

DESCRIPTION = 500


def tensors() -> dict[str, torch.Tensor]:
    """Return a small network whose layers and rows differ in scale, as in trained networks."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.logspace(-1, 1, 64)[:, None]
    return {
        "conv.weight": 0.1 * torch.randn(32, 3, 3, 3, generator=generator),
        "hidden.weight": 0.02 * rows * torch.randn(64, 800, generator=generator),
        "out.weight": torch.randn(10, 64, generator=generator) / 8,
        "out.bias": torch.randn(10, generator=generator),
    }


def quantizer() -> Quantizer:
    checkpoint = tensors()
    return Quantizer(checkpoint, select_layers(checkpoint, ("all",), 0), None, has_inputs=False)


PLAN = quantizer().plan()


def size_of(quantized: Quantized) -> int:
    return DESCRIPTION + sum(map(len, pack_layers(quantized.layers)))


def output_error(weights: dict[str, torch.Tensor]) -> float:
    images = torch.rand(64, 3, 12, 12, generator=torch.Generator().manual_seed(1))

    def outputs(used: dict[str, torch.Tensor]) -> torch.Tensor:
        features = nn.functional.conv2d(images, used["conv.weight"], stride=2).relu()
        hidden = nn.functional.linear(features.flatten(1), used["hidden.weight"]).relu()
        return nn.functional.linear(hidden, used["out.weight"], used["out.bias"])

    exact = outputs(tensors())
    return float((outputs(weights) - exact).norm() / exact.norm())


def decoded(quantized: Quantized) -> dict[str, torch.Tensor]:
    layers = quantizer().layers
    weights = {layer.name: decoded_tensor(q, layer) for layer, q in zip(layers, quantized.layers, strict=True)}
    return tensors() | weights


def rounded(bits: int) -> tuple[dict[str, torch.Tensor], int]:
    """Round to nearest with a scale for each row; return the tensors and the bytes after zstd."""
    results, stream = {}, io.BytesIO()
    for name, tensor in tensors().items():
        if tensor.ndim == 1:
            results[name] = tensor
            continue
        row = round_to_nearest(tensor, bits)
        results[name] = row.values()
        stream.write(row.symbols.to(torch.int8).numpy().tobytes() + row.scales.numpy().tobytes())
    return results, len(zstandard.ZstdCompressor(level=19).compress(stream.getvalue()))


@pytest.mark.parametrize("target", [12_000, 25_000, 45_000])
def test_the_file_fills_its_target(target: int) -> None:
    assert 0.99 * target < size_of(quantize_without_training(quantizer(), PLAN, target, size_of)) <= target


@pytest.mark.parametrize("bits", [8, 4])
def test_outputs_are_nearer_to_the_original_than_those_of_plain_rounding_in_as_many_bytes(bits: int) -> None:
    weights, size = rounded(bits)
    ours = decoded(quantize_without_training(quantizer(), PLAN, size, size_of))
    assert output_error(ours) < 0.8 * output_error(weights)


def test_a_faithful_file_is_no_larger_than_int8_and_nearer_to_the_original() -> None:
    weights, size = rounded(8)
    quantized = quantize_faithfully(quantizer(), PLAN, size_of)
    assert size_of(quantized) <= size
    assert output_error(decoded(quantized)) < 0.8 * output_error(weights)


def test_a_network_smaller_than_its_description_is_faithful_all_the_same() -> None:
    quantized = quantize_faithfully(quantizer(), PLAN, lambda draft: size_of(draft) + 100_000)
    assert output_error(decoded(quantized)) < output_error(rounded(8)[0])


def smallest_target() -> int:
    """Return the target that the refusal of a far too small one advises."""
    with pytest.raises(NernError, match=r"use a target of at least [\d,]+ bytes") as refused:
        quantize_without_training(quantizer(), PLAN, 300, size_of)
    assert refused.value.code == "target_too_small"
    return int(re.findall(r"at least ([\d,]+) bytes", refused.value.message)[0].replace(",", ""))


def test_the_target_that_a_refusal_advises_makes_a_file_nearer_to_the_original_than_zeros() -> None:
    target = smallest_target()
    quantized = quantize_without_training(quantizer(), PLAN, target, size_of)
    assert size_of(quantized) <= target
    original, ours = tensors(), decoded(quantized)
    for name in ("hidden.weight", "out.weight"):
        assert (ours[name] - original[name]).norm() < original[name].norm()


@pytest.mark.parametrize("factor", [1.1, 1.3, 1.7])
def test_small_targets_are_filled_too(factor: float) -> None:
    target = round(factor * smallest_target())
    assert 0.9 * target < size_of(quantize_without_training(quantizer(), PLAN, target, size_of)) <= target


def test_int8_counts_what_is_kept_as_well() -> None:
    layers = select_layers(tensors(), ("hidden.weight",), 0)
    assert int8_bytes(layers, tensors()) > int8_bytes(quantizer().layers, tensors())
