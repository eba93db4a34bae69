"""Decode integers of files of the format versions 4 to 6, each with the distribution of its class.

The distribution of a class is symmetric and described by *stop probabilities* in 256ths: stop probability k is the
probability that the magnitude is k, given that it is at least k. The last one holds for all larger magnitudes. So a
class of any shape takes a few bytes. The probabilities of the range coder are computed from them with integers only, so
that every machine gets the same ones, and all of them are exact in float64.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import constriction
import numpy as np
from numpy.typing import NDArray

from nern_core.container.symbols import decode_symbols
from nern_core.contract.errors import NernError

Categorical = constriction.stream.model.Categorical
Uniform = constriction.stream.model.Uniform

# Larger magnitudes are coded as this symbol and an escaped excess.
LARGEST_MAGNITUDE: Final = 255
_DENOMINATOR = 256
_PROBABILITY_BITS = 22
_ESCAPED_BITS = (16, 8)

Stops = NDArray[np.uint8]
Integers = NDArray[np.int32]
Classes = NDArray[np.uint8]


def unpack_integers(packed: bytes, classes: Classes, stops: Sequence[Stops]) -> Integers:
    """Unpack integers of the classes (n,), int32 (n,); `stops` holds the stop probabilities of each class.

    Raises `NernError` (`bad_encoding`) if bytes are missing or left over.
    """
    if len(packed) % 4:
        raise NernError("bad_encoding", "The .nern file is damaged: a stream of integers is cut short.")
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(packed, "<u4").astype(np.uint32))
    symbols = np.empty(len(classes), np.int32)
    for index in np.unique(classes):
        members = np.flatnonzero(classes == index)
        if index >= len(stops) or not len(stops[index]):
            raise NernError("bad_encoding", "The .nern file is damaged: a class of integers has no distribution.")
        symbols[members] = decode_symbols(decoder, _model(stops[index].tobytes()), len(members))
    magnitudes = (symbols + 1) // 2
    escaped = np.flatnonzero(magnitudes == LARGEST_MAGNITUDE)
    shift = 0
    for bits in _ESCAPED_BITS:
        magnitudes[escaped] += decode_symbols(decoder, Uniform(2**bits), len(escaped)) << shift
        shift += bits
    if not decoder.maybe_exhausted():
        raise NernError("bad_encoding", "The .nern file is damaged: a stream of integers is too long.")
    values: Integers = np.where(symbols % 2 == 1, magnitudes, -magnitudes).astype(np.int32)
    return values


@lru_cache(maxsize=256)
def _model(stops: bytes) -> object:
    return Categorical(_probabilities(stops), perfect=False)


@lru_cache(maxsize=256)
def _probabilities(stops: bytes) -> NDArray[np.float64]:
    """Return the probabilities of the symbols 0, +1, -1, +2, ..., (511,): multiples of 2**-23 that sum to nearly 1."""
    left = 1 << _PROBABILITY_BITS
    of_magnitude = []
    for k in range(LARGEST_MAGNITUDE + 1):
        # The last symbol stands for all escaped magnitudes.
        stop = _DENOMINATOR if k == LARGEST_MAGNITUDE else stops[min(k, len(stops) - 1)]
        part = left * stop // _DENOMINATOR
        of_magnitude.append(part)
        left -= part
    zero, *others = (max(part, 1) for part in of_magnitude)
    return np.array([2 * zero] + [part for part in others for _ in range(2)], np.float64) / (1 << _PROBABILITY_BITS + 1)
