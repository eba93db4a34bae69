"""Distributions of integers: one for each class, described by a few bytes.

An integer is coded as a *level*, a sign and raw low bits. Class k is for integers with a mean magnitude of about
2 ** ((k - 24) / 3); its `shift` is the number of raw bits, so that levels stay small. Without a shift, the level is the
magnitude, and only levels above 0 have a sign. Otherwise the level of q is q >> shift if q >= 0, ~q >> shift if q < 0,
and it always has a sign.

The list of a class has one byte for each level: byte v says how probable larger levels are, given that the level is at
least this one: t * t * (3 - 2 * t) for t = v / 256, fine near 0 and 1. A 0, allowed only as the last byte, says that
there are no larger levels. Otherwise larger levels are an escape, followed by a number elsewhere in the lane.

Symbols have integer frequencies that sum to 4096, computed with integers only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nern_core.codec.layers import CLASSES
from nern_core.contract.errors import NernError

PROBABILITY_BITS: Final = 12
MOST_LEVELS: Final = 31
# Counts of levels are kept up to this one; larger levels count as this one.
COUNTED_LEVELS: Final = 256
# Symbols are numbered from -32 to 31: a level m is m, or with a negative sign -m, or -1 - m if the class has a shift.
SYMBOLS: Final = 64
FREQUENCY_SHIFT: Final = 19
OFFSET_SHIFT: Final = 7

_SLOTS = 1 << PROBABILITY_BITS
_PRECISION = 28
_CLASS_OF_ONE = 24
_CLASSES_PER_OCTAVE = 3
_BITS_OF_SHORT_EXCESS, _BITS_OF_LONG_EXCESS, _SHORT_EXCESS = 8, 16, 128

# Bytes of one class; empty if no integer has this class.
Continuations = NDArray[np.uint8]

_BYTES = np.arange(257, dtype=np.int64)
_CURVE = _BYTES * _BYTES * (768 - 2 * _BYTES)  # in 2 ** -24
SHIFTS: Final = np.maximum(0, (np.arange(CLASSES) - _CLASS_OF_ONE) // _CLASSES_PER_OCTAVE - 1).astype(np.int64)


def half_frequencies(continuations: Continuations) -> NDArray[np.int64]:
    """Return the frequencies of the levels, (n + 1,), in halves of 4096: that of one sign, the last one of an escape.

    They sum to 2048. Each is at least 1, except that of an escape that cannot occur.
    """
    left, parts = 1 << _PRECISION, []
    for byte in continuations.tolist():
        above = left * int(_CURVE[byte]) >> 24
        parts.append(left - above)
        left = above
    exact = np.array([*parts, left], np.int64) * (_SLOTS // 2)
    halves: NDArray[np.int64] = np.maximum(1, (exact + (1 << (_PRECISION - 1))) >> _PRECISION)
    if continuations[-1] == 0:
        halves[-1] = 0
    halves[np.argmax(halves)] += _SLOTS // 2 - halves.sum()
    return halves


def fit_continuations(counts: NDArray[np.int64]) -> Continuations:
    """Fit the bytes of a class to the counts of its levels, (256,): as many of them as save more than they take."""
    if not counts.any():
        return np.empty(0, np.uint8)
    reached = counts[::-1].cumsum()[::-1].astype(np.float64)
    shares = np.divide(reached[1:], reached[:-1], where=reached[:-1] > 0, out=np.zeros(COUNTED_LEVELS - 1))
    nearest = np.abs(_CURVE[1:256, None] / 2.0**24 - shares[:MOST_LEVELS]).argmin(axis=0) + 1
    best, smallest = np.empty(0, np.uint8), np.inf
    for length in range(1, MOST_LEVELS + 1):
        continuations = nearest[:length].astype(np.uint8)
        is_complete = reached[length] == 0
        if is_complete:
            continuations[-1] = 0
        bits = _bits(counts, reached, half_frequencies(continuations)) + 8 * length
        if bits < smallest:
            best, smallest = continuations, bits
        if is_complete:
            break
    return best


def _bits(counts: NDArray[np.int64], reached: NDArray[np.float64], halves: NDArray[np.int64]) -> float:
    """Return the bits of all levels with these counts, except signs."""
    length = len(halves) - 1
    occurrences = np.append(counts[:length], reached[length])
    bits = -(occurrences @ np.log2(np.maximum(halves, 1) / (_SLOTS // 2)))
    far = reached[min(length + _SHORT_EXCESS, COUNTED_LEVELS - 1)]
    excess = (reached[length] - far) * _BITS_OF_SHORT_EXCESS + far * _BITS_OF_LONG_EXCESS
    return float(bits + excess)


@dataclass(frozen=True, slots=True)
class CodingTables:
    """The distributions of classes, ready for coding.

    `levels` (classes,) counts the levels before the escape; 0 for a class without a distribution. `frequencies` and
    `starts` (classes, 64) are those of the symbols -32 to 31. `slots`, uint32 (classes, 4096), has for each value of
    the low bits of a state: frequency << 19 | offset in the symbol << 7 | (symbol & 63) << 1 | 1 for an escape.
    """

    shifts: NDArray[np.int64]
    levels: NDArray[np.int64]
    frequencies: NDArray[np.int64]
    starts: NDArray[np.int64]
    slots: NDArray[np.uint32]


def coding_tables(distributions: Sequence[Continuations], shifts: NDArray[np.int64]) -> CodingTables:
    """Derive the tables for coding from the bytes of each class."""
    frequencies, starts = (np.zeros((len(distributions), SYMBOLS), np.int64) for _ in range(2))
    slots = np.zeros((len(distributions), _SLOTS), np.uint32)
    for index, continuations in enumerate(distributions):
        if len(continuations):
            symbols, sizes = _symbols(half_frequencies(continuations), has_shift=bool(shifts[index]))
            ends = sizes.cumsum()
            frequencies[index, symbols] = sizes
            starts[index, symbols] = ends - sizes
            is_escape = np.arange(len(symbols)) >= len(symbols) - 2
            offsets = np.arange(_SLOTS) - np.repeat(ends - sizes, sizes)
            fixed = sizes << FREQUENCY_SHIFT | (symbols & (SYMBOLS - 1)) << 1 | is_escape
            slots[index] = np.repeat(fixed, sizes) | offsets << OFFSET_SHIFT
    levels = np.array([len(continuations) for continuations in distributions], np.int64)
    return CodingTables(shifts, levels, frequencies, starts, slots)


def _symbols(halves: NDArray[np.int64], *, has_shift: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the symbols in the order of their slots, level by level with the positive one first, and their sizes."""
    levels = np.arange(len(halves))
    symbols = np.stack([levels, ~levels if has_shift else -levels], axis=1).flatten()
    sizes = np.repeat(halves, 2)
    if has_shift:
        return symbols, sizes
    # A level of 0 has no sign, so it takes the slots of both.
    return symbols[1:], np.append(2 * sizes[0], sizes[2:])


def pack_distributions(distributions: Sequence[Continuations]) -> bytes:
    """Pack into bytes: a bit for each class with a distribution, then their lengths and bytes."""
    exist = np.array([len(continuations) > 0 for continuations in distributions])
    lists = [bytes([len(row)]) + row.tobytes() for row in distributions if len(row)]
    return np.packbits(exist, bitorder="little").tobytes() + b"".join(lists)


def unpack_distributions(packed: bytes, count: int) -> list[Continuations]:
    """Undo `pack_distributions` for `count` classes. Raises `NernError` (`bad_encoding`)."""
    start = -(-count // 8)
    exist = np.unpackbits(np.frombuffer(packed[:start], np.uint8), bitorder="little")
    if len(packed) < start or exist[count:].any():
        raise NernError("bad_encoding", "The .nern file is damaged: its distributions are cut short.")
    distributions = []
    for has_list in exist[:count].tolist():
        length = 0
        if has_list:
            length = packed[start] if start < len(packed) else 0
            start += 1
        row = np.frombuffer(packed[start : start + length], np.uint8)
        if len(row) != length or (has_list and not 0 < length <= MOST_LEVELS) or not row[:-1].all():
            raise NernError("bad_encoding", "The .nern file is damaged: its distributions are invalid.")
        distributions.append(row)
        start += length
    if start != len(packed):
        raise NernError("bad_encoding", "The .nern file is damaged: its distributions are too long.")
    return distributions
