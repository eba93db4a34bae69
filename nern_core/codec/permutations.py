"""Permutations as packed bits: every index takes ceil(log2(n)) bits, n being the number of choices."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nern_core.errors import NernError
from nern_core.options import Permutation


def pack_order(order: Tensor, filters: int, channels: int, method: Permutation) -> Tensor:
    """Pack the order of one layer of F*C kernels, int64, into a stream of bytes, uint8."""
    indices = order.numpy()
    if method is Permutation.CROSS_FILTER:
        stream = _to_bits(indices, len(indices))
    else:
        rows = indices.reshape(filters, channels)
        stream = np.concatenate((_to_bits(rows[:, 0] // channels, filters), _to_bits(rows % channels, channels)))
    return torch.from_numpy(np.packbits(stream))


def unpack_order(stream: Tensor, filters: int, channels: int, method: Permutation) -> Tensor:
    """Undo `pack_order`. Raises `NernError` (`bad_encoding`) if the stream holds no permutation."""
    bits = np.unpackbits(stream.numpy())
    if method is Permutation.CROSS_FILTER:
        indices, _ = _from_bits(bits, filters * channels, filters * channels)
    else:
        outer, rest = _from_bits(bits, filters, filters)
        inner, _ = _from_bits(rest, filters * channels, channels)
        indices = (outer[:, None] * channels + inner.reshape(filters, channels)).reshape(-1)
    if not np.array_equal(np.sort(indices), np.arange(filters * channels)):
        raise NernError("bad_encoding", "The .nern file is damaged: one of its permutations is not a permutation.")
    return torch.from_numpy(indices)


def _width(choices: int) -> int:
    return (choices - 1).bit_length()


def _to_bits(indices: NDArray[np.int64], choices: int) -> NDArray[np.uint8]:
    flat = indices.reshape(-1)
    bits = np.empty((len(flat), _width(choices)), np.uint8)
    # Place by place: all at once takes sixteen times the memory.
    for place in range(bits.shape[1]):
        bits[:, place] = (flat >> place) & 1
    return bits.reshape(-1)


def _from_bits(bits: NDArray[np.uint8], count: int, choices: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    width = _width(choices)
    if len(bits) < count * width:
        raise NernError("bad_encoding", "The .nern file is damaged: one of its permutations is cut short.")
    places = bits[: count * width].reshape(count, width)
    values = np.zeros(count, np.int64)
    for place in range(width):
        values |= places[:, place].astype(np.int64) << place
    return values, bits[count * width :]
