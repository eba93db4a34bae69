"""Quantize without training: the most accurate file of a size, or one no larger than int8 and more accurate."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import torch
import zstandard
from torch import Tensor

from nern_core.contract.errors import NernError
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.for_size import SizeOf, too_small
from nern_core.representations.quantized.quantizer import Quantized, Quantizer
from nern_core.representations.quantized.rounding_plan import RoundingPlan
from nern_core.tensors.large_blocks import large_blocks_returned
from nern_core.tensors.rounding import round_to_nearest

# A file this close to its target is large enough; another attempt at a large network would take seconds.
_NEAR_ENOUGH: Final = 0.003
_NEAR_ENOUGH_IF_LARGE: Final = 0.015
_LARGE: Final = 10**7
_MOST_TRIES = 12
# In deviations of the weights: coarser steps leave larger errors than zeros in place of the weights.
_COARSEST: Final = 3.5
# In octaves: smaller changes are not tried.
_SMALLEST_CHANGE = 1e-3
# int8 with another compressor may be a little smaller than here.
_OF_INT8: Final = 0.985
_INT8_BITS = 8
_ZSTD_LEVEL = 9


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Weights rounded to steps of a size, in octaves, and the bytes of their file."""

    octaves: float
    quantized: Quantized
    bytes: int


def quantize_without_training(quantizer: Quantizer, plan: RoundingPlan, target: int, size_of: SizeOf) -> Quantized:
    """Round the weights for a file of at most `target` bytes; `size_of` returns the size of a file.

    Raises `NernError` (`target_too_small`).
    """
    with large_blocks_returned() if quantizer.weights >= _LARGE else nullcontext():
        return _searched(quantizer, plan, target, size_of)


def _searched(quantizer: Quantizer, plan: RoundingPlan, target: int, size_of: SizeOf) -> Quantized:
    finest, coarsest = plan.limits(_COARSEST)

    def attempt(octaves: float) -> _Attempt:
        quantized = quantizer.rounded_to(plan.rounding(octaves))
        return _Attempt(octaves, quantized, size_of(quantized))

    near = _NEAR_ENOUGH_IF_LARGE if quantizer.weights >= _LARGE else _NEAR_ENOUGH
    search = _StepSearch(target, (finest, coarsest), near, bytes_of_change=quantizer.weights / 8)
    room = search.aim - size_of(quantizer.without_layers()) - quantizer.bytes_of_tables
    octaves = min(plan.octaves_for(8 * max(0.0, room)), coarsest)
    while not search.has_ended:
        search.note(attempt(octaves))
        octaves = search.following()
    found = search.coarse or attempt(coarsest)
    if found.bytes > target:
        raise too_small(quantizer, target, found.bytes)
    return found.quantized


class _StepSearch:
    """Search for the size of steps that fills a target: larger steps make smaller files."""

    def __init__(self, target: int, limits: tuple[float, float], near: float, *, bytes_of_change: float) -> None:
        """A file shrinks by about `bytes_of_change` per octave; `limits` are the finest and the coarsest steps.

        A file that is smaller than its target by the share `near` is large enough.
        """
        self._target = target
        self._near = near
        # Slightly below the target, so that the next file is more likely too small than too large.
        self.aim = (1 - near / 2) * target
        self._finest, self._coarsest = limits
        self._bytes_of_change = bytes_of_change
        self._tries = 0
        # The nearest attempts above and within the target.
        self.fine: _Attempt | None = None
        self.coarse: _Attempt | None = None

    @property
    def has_ended(self) -> bool:
        """True if the target is filled, the range is exhausted or the tries are used up."""
        fine, coarse = self.fine, self.coarse
        if coarse is not None and coarse.bytes >= (1 - self._near) * self._target:
            return True
        least = self._finest if fine is None else fine.octaves
        most = self._coarsest if coarse is None else coarse.octaves
        return self._tries >= _MOST_TRIES or most - least <= _SMALLEST_CHANGE

    def note(self, tried: _Attempt) -> None:
        """Record an attempt."""
        self._tries += 1
        if tried.bytes > self._target:
            self.fine = tried
        elif self.coarse is None or tried.bytes > self.coarse.bytes:
            self.coarse = tried

    def following(self) -> float:
        """Return the octaves to try next."""
        fine, coarse = self.fine, self.coarse
        if fine is not None and coarse is not None:
            # Interpolation alone can approach from one side only, in ever smaller steps.
            share = 0.5 if self._tries % 2 else (fine.bytes - self.aim) / (fine.bytes - coarse.bytes)
            return fine.octaves + share * (coarse.octaves - fine.octaves)
        known = fine or coarse
        assert known is not None
        # With few bits per weight, files shrink more slowly than assumed: changes double until both sides are known.
        change = (known.bytes - self.aim) / self._bytes_of_change * 2.0 ** (self._tries - 1)
        return min(max(known.octaves + change, self._finest), self._coarsest)


def quantize_faithfully(quantizer: Quantizer, plan: RoundingPlan, size_of: SizeOf) -> Quantized:
    """Round the weights for a file no larger than int8 with zstd, with smaller errors of the network's outputs.

    For a very small network, the description in the file takes more than is saved, and the file is larger.
    """
    size = round(_OF_INT8 * int8_bytes(quantizer.layers, quantizer.tensors))
    try:
        return quantize_without_training(quantizer, plan, size, size_of)
    except NernError:
        return quantizer.rounded_to(plan.rounding(plan.limits()[0]))


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
