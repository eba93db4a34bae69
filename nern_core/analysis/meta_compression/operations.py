"""Magnitude pruning and quantization of tensors, and the size of the result: the same for every subject."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nern_core.tensors.rounding import round_to_nearest

_HALF_BITS = 16


@dataclass(frozen=True, slots=True)
class Compressed:
    """A tensor after an operation: its decoded values, float32, and its ideal size in bits."""

    values: Tensor
    bits: float


def prune(tensors: Mapping[str, Tensor], share: float) -> dict[str, Compressed]:
    """Set the given share of all values, the smallest in magnitude, to zero.

    The size of a tensor is the entropy of its bit mask plus two bytes, fp16, for each remaining value.
    """
    magnitudes = torch.cat([tensor.detach().float().abs().flatten() for tensor in tensors.values()])
    pruned = round(share * len(magnitudes))
    left = torch.ones_like(magnitudes, dtype=torch.bool)
    left[magnitudes.argsort(stable=True)[:pruned]] = False
    compressed = {}
    masks = left.split([tensor.numel() for tensor in tensors.values()])
    for (name, tensor), flat in zip(tensors.items(), masks, strict=True):
        mask = flat.view(tensor.shape)
        bits = entropy_bits(mask) + _HALF_BITS * int(mask.sum())
        compressed[name] = Compressed(tensor.detach().float().half().float() * mask, bits)
    return compressed


def quantize(tensors: Mapping[str, Tensor], bits: int) -> dict[str, Compressed]:
    """Round every tensor to nearest; its size is the entropy of its symbols plus an fp16 scale for each row."""
    compressed = {}
    for name, tensor in tensors.items():
        rounded = round_to_nearest(tensor, bits)
        scaled = replace(rounded, scales=rounded.scales.half().float())
        taken = entropy_bits(scaled.symbols) + _HALF_BITS * len(scaled.scales)
        compressed[name] = Compressed(scaled.values(), taken)
    return compressed


def entropy_bits(symbols: Tensor) -> float:
    """Return the bits that an ideal coder needs for these symbols when their frequencies are known."""
    _, counts = symbols.flatten().unique(return_counts=True)
    shares = counts.double() / counts.sum()
    return float(-(counts * shares.log2()).sum())


def counted_bytes(compressed: Iterable[Compressed], kept: Iterable[Tensor]) -> int:
    """Count the bytes of compressed tensors and of those that are kept unchanged, including packed permutations.

    Names, shapes, tables of frequencies and the document are not counted, for either subject.
    """
    return math.ceil(sum(tensor.bits for tensor in compressed) / 8) + sum(tensor.nbytes for tensor in kept)
