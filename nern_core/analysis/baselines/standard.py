"""Standard codecs for the checkpoint itself, which need no data and no training.

`zstd` compresses all tensors losslessly. `fp16` stores every floating-point tensor in half precision. `int8`, `int6`
and `int4` round every tensor of two or more axes to nearest, with one float32 scale for each index of axis 0 (the
output channel of a convolution or linear layer), pack each symbol into that many bits, and keep the other tensors
unchanged. Sizes are those of the tensors: names and shapes are not counted, and tied tensors are counted once.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import zstandard
from torch import Tensor

from nern_core.analysis.baselines.alternative import Alternative
from nern_core.tensors.checkpoint import find_tied
from nern_core.tensors.rounding import round_to_nearest

_SCALE_BYTES = 4
_ZSTD_LEVEL = 9
_INTEGER_BITS = (8, 6, 4)


@dataclass(frozen=True, slots=True)
class _Coded:
    values: Tensor
    bytes: int


def standard_codecs(tensors: Mapping[str, Tensor]) -> Iterator[Alternative]:
    """Apply zstd, fp16, int8, int6 and int4, one after another, because each result is as large as the checkpoint."""
    tied = find_tied(tensors)
    yield Alternative(name="zstd", bytes=_zstd_bytes(tensors, tied), tensors=dict(tensors))
    yield _apply("fp16", _to_half, tensors, tied)
    for bits in _INTEGER_BITS:
        yield _apply(f"int{bits}", partial(_to_integers, bits=bits), tensors, tied)


def _apply(
    name: str, codec: Callable[[Tensor], _Coded], tensors: Mapping[str, Tensor], tied: Mapping[str, str]
) -> Alternative:
    coded = {key: codec(tensor) for key, tensor in tensors.items() if key not in tied}
    return Alternative(
        name=name,
        bytes=sum(tensor.bytes for tensor in coded.values()),
        tensors={key: coded[tied.get(key, key)].values for key in tensors},
    )


def _zstd_bytes(tensors: Mapping[str, Tensor], tied: Mapping[str, str]) -> int:
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    parts = [
        compressor.compress(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        for name, tensor in tensors.items()
        if name not in tied and tensor.numel()
    ]
    return sum(map(len, parts)) + len(compressor.flush())


def _to_half(tensor: Tensor) -> _Coded:
    half = tensor.half()
    # Integers stay unchanged, and so do tensors with values that would overflow to infinity in half precision.
    if not tensor.is_floating_point() or tensor.element_size() <= half.element_size() or not half.isfinite().all():
        return _Coded(tensor, tensor.nbytes)
    return _Coded(half.to(tensor.dtype), half.nbytes)


def _to_integers(tensor: Tensor, *, bits: int) -> _Coded:
    if not tensor.is_floating_point() or tensor.ndim < 2 or not tensor.numel() or not tensor.isfinite().all():
        return _Coded(tensor, tensor.nbytes)
    rounded = round_to_nearest(tensor, bits)
    size = math.ceil(tensor.numel() * bits / 8) + _SCALE_BYTES * len(rounded.scales)
    return _Coded(rounded.values().to(tensor.dtype), size)
