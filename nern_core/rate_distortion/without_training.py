"""Quantize without training: the most accurate file of a size, or one no larger than int8 and more accurate."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import torch
import zstandard
from torch import Tensor

from nern_core.errors import NernError
from nern_core.kernels import KernelLayer
from nern_core.rate_distortion.for_size import SizeOf, too_small
from nern_core.rate_distortion.quantizer import Quantized, Quantizer
from nern_core.rate_distortion.start import LARGEST_SIZE, SMALLEST_SIZE, RelativeSteps
from nern_core.rounding import round_to_nearest

# A file this close to its target is large enough.
_NEAR_ENOUGH: Final = 0.003
_MOST_TRIES = 12
# In the natural logarithm of the steps: smaller changes are not tried.
_SMALLEST_CHANGE = 1e-3
# int8 with another compressor may be a little smaller than here.
_OF_INT8: Final = 0.985
_INT8_BITS = 8
_ZSTD_LEVEL = 9


def quantize_without_training(quantizer: Quantizer, target: int, size_of: SizeOf) -> Quantized:
    """Round the weights for a file of at most `target` bytes; `size_of` returns the size of a file.

    Raises `NernError` (`target_too_small`).
    """
    relative = quantizer.relative_steps()

    def attempt(logarithm: float) -> tuple[Quantized, int]:
        result = quantizer.balanced(relative.at(math.exp(logarithm)))
        return result, size_of(result)

    # Larger steps make smaller files: about one bit per weight and octave.
    bytes_of_change = quantizer.weights / 8 / math.log(2)
    small, large = math.log(SMALLEST_SIZE), math.log(LARGEST_SIZE)
    logarithm = _first_guess(relative, quantizer, target)
    best: tuple[Quantized, int] | None = None
    for _ in range(_MOST_TRIES):
        result, size = attempt(logarithm)
        if size <= target:
            large = logarithm
            if best is None or size > best[1]:
                best = result, size
        else:
            small = logarithm
        if (1 - _NEAR_ENOUGH) * target <= size <= target or large - small <= _SMALLEST_CHANGE:
            break
        # Slightly beyond the target, so that the next file is more likely too small than too large.
        following = logarithm + (size - (1 - _NEAR_ENOUGH / 2) * target) / bytes_of_change
        logarithm = following if small < following < large else (small + large) / 2
    if best is None:
        best = attempt(math.log(LARGEST_SIZE))
        if best[1] > target:
            raise too_small(quantizer, target, best[1])
    return best[0]


def quantize_faithfully(quantizer: Quantizer, size_of: SizeOf) -> Quantized:
    """Round the weights for a file no larger than int8 with zstd, with smaller errors of the network's outputs.

    For a very small network, the description in the file takes more than is saved, and the file is larger.
    """
    size = round(_OF_INT8 * int8_bytes(quantizer.layers, quantizer.tensors))
    try:
        return quantize_without_training(quantizer, size, size_of)
    except NernError:
        return quantizer.balanced(quantizer.relative_steps().at(SMALLEST_SIZE))


def int8_bytes(layers: Sequence[KernelLayer], tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of a checkpoint with its layers rounded to int8, one scale per index of axis 0, with zstd.

    All other tensors are unchanged.
    """
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
    represented = {layer.name for layer in layers}
    size = 0
    for name, tensor in tensors.items():
        if name in represented:
            rounded = round_to_nearest(tensor, _INT8_BITS)
            size += len(compressor.compress(rounded.symbols.to(torch.int8).numpy().tobytes()))
            size += len(compressor.compress(rounded.scales.numpy().tobytes()))
        elif tensor.numel():
            size += len(compressor.compress(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()))
    return size


def _first_guess(relative: RelativeSteps, quantizer: Quantizer, target: int) -> float:
    """Return the logarithm of the step size with which normally distributed weights would fill the target."""
    norms = quantizer.filter_norms()

    def overflows(logarithm: float) -> bool:
        # The bits of a weight: half the logarithm of 1 + its variance in squared steps times 2 pi e.
        bits = sum(
            float((1 + 2 * math.pi * math.e * (of_layer / steps).square()).log2().sum()) / 2 * layer.inputs
            for of_layer, steps, layer in zip(
                norms, relative.exactly_at(math.exp(logarithm)), quantizer.layers, strict=True
            )
        )
        return bits > 8 * target

    low, high = math.log(SMALLEST_SIZE), math.log(LARGEST_SIZE)
    while high - low > _SMALLEST_CHANGE:
        middle = (low + high) / 2
        low, high = (middle, high) if overflows(middle) else (low, middle)
    return high
