"""The usual codec to compare with: rows rounded to nearest, compressed by zstd."""

import torch
import zstandard
from torch import Tensor

from bench.package_networks import Tensors
from nern_core.tensors.rounding import round_to_nearest

_ZSTD_LEVEL = 19


def rounded_rows(tensors: Tensors, bits: int) -> tuple[Tensors, int]:
    """Round each row to nearest, and count the bytes."""
    values, size = {}, 0
    for name, tensor in tensors.items():
        values[name] = tensor
        if tensor.is_floating_point() and tensor.ndim > 1:
            rounded = round_to_nearest(tensor, bits)
            values[name] = rounded.values().to(tensor.dtype)
            size += _compressed(rounded.symbols.to(torch.int8)) + _compressed(rounded.scales)
        elif tensor.numel():
            size += _compressed(tensor)
    return values, size


def _compressed(tensor: Tensor) -> int:
    """Return the bytes after zstd. Integers of 4 bits compress better with one per byte than with two."""
    data = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return min(len(data), len(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data)))
