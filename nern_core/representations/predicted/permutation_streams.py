"""Code permutations in close to their entropy: log2(n!) bits for n kernels, plus a few bytes.

A permutation is coded as the swaps that build it: the i-th of n kernels is swapped with one of the n - i kernels that
are not yet in place, each equally likely. A range coder packs these choices losslessly.
"""

from collections.abc import Sequence

import constriction
import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nern_core.container.symbols import decode_symbols
from nern_core.contract.errors import NernError
from nern_core.contract.options import Permutation

Uniform = constriction.stream.model.Uniform
# The range coder's probabilities have 24 bits: a choice among more values than this is coded in two parts.
_MOST_CHOICES_AT_ONCE = 1 << 20
_LOW_BITS = 12


def pack_order(order: Tensor, filters: int, channels: int, method: Permutation) -> Tensor:
    """Pack the order of one layer of F*C kernels, int64, into a stream of bytes, uint8."""
    indices = order.numpy()
    if method is Permutation.CROSS_FILTER:
        permutations = [indices]
    else:
        rows = indices.reshape(filters, channels)
        permutations = [rows[:, 0] // channels, *(rows % channels)]
    swaps = np.concatenate([_swaps_of(np.ascontiguousarray(permutation)) for permutation in permutations])
    choices = _choices([len(permutation) for permutation in permutations])
    shift = _shift(choices)
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode((swaps >> shift).astype(np.int32), Uniform(), _high_choices(choices, shift))
    low = swaps[shift > 0] & (2**_LOW_BITS - 1)
    encoder.encode(low.astype(np.int32), Uniform(2**_LOW_BITS))
    words = encoder.get_compressed().astype("<u4")
    return torch.from_numpy(words.view(np.uint8))


def unpack_order(stream: Tensor, filters: int, channels: int, method: Permutation) -> Tensor:
    """Undo `pack_order`. Raises `NernError` (`bad_encoding`) for a stream of the wrong length."""
    if len(stream) % 4:
        raise NernError("bad_encoding", "The .nern file is damaged: a permutation is cut short.")
    lengths = [filters * channels] if method is Permutation.CROSS_FILTER else [filters, *[channels] * filters]
    choices = _choices(lengths)
    shift = _shift(choices)
    decoder = constriction.stream.queue.RangeDecoder(stream.numpy().view("<u4").astype(np.uint32))
    swaps = decode_symbols(decoder, Uniform(), _high_choices(choices, shift)).astype(np.int64) << shift
    wide = shift > 0
    swaps[wide] |= decode_symbols(decoder, Uniform(2**_LOW_BITS), int(wide.sum()))
    if (swaps >= choices).any():
        raise NernError("bad_encoding", "The .nern file is damaged: it contains an invalid permutation.")
    if not decoder.maybe_exhausted():
        raise NernError("bad_encoding", "The .nern file is damaged: a permutation is too long.")
    ends = np.cumsum([length - 1 for length in lengths])
    permutations = [_permutation_of(part) for part in np.split(swaps, ends[:-1])]
    if method is Permutation.CROSS_FILTER:
        return torch.from_numpy(permutations[0])
    outer, inner = permutations[0], np.stack(permutations[1:])
    return torch.from_numpy((outer[:, None] * channels + inner).reshape(-1))


def _choices(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Count the choices of each swap, for consecutive permutations of these lengths; the last kernel needs none."""
    return np.concatenate([np.arange(length, 1, -1, dtype=np.int64) for length in lengths])


def _shift(choices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of low bits of each swap that are coded separately."""
    return np.where(choices > _MOST_CHOICES_AT_ONCE, _LOW_BITS, 0)


def _high_choices(choices: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int32]:
    return (((choices - 1) >> shift) + 1).astype(np.int32)


@numba.njit(cache=True)
def _swaps_of(permutation: NDArray[np.int64]) -> NDArray[np.int64]:
    count = len(permutation)
    content, place = np.arange(count), np.arange(count)
    swaps = np.empty(max(count - 1, 0), np.int64)
    for i in range(count - 1):
        j = place[permutation[i]]
        swaps[i] = j - i
        content[j] = content[i]
        place[content[j]] = j
    return swaps


@numba.njit(cache=True)
def _permutation_of(swaps: NDArray[np.int64]) -> NDArray[np.int64]:
    content = np.arange(len(swaps) + 1)
    for i in range(len(swaps)):
        j = i + swaps[i]
        content[i], content[j] = content[j], content[i]
    return content
