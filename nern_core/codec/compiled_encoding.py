"""Encode lanes by compiled loops (see `single_lane` for the coder)."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from nern_core.codec.distributions import COUNTED_LEVELS, PROBABILITY_BITS
from nern_core.codec.lanes import LEAST_STATE, STATE_BYTES
from nern_core.codec.layers import CLASSES

_STATE_BITS = 32
# Of an integer: two words, and an escaped number.
_MOST_BYTES = 4

# For mypy, elements of arrays are anything, as numba infers their types.
Array = NDArray[Any]


@numba.njit(cache=True, nogil=True)
def count_levels(integers: Array, classes: Array, shifts: Array) -> Array:
    """Count the levels of integers, (n,), by class: (64, 256)."""
    counts = np.zeros((CLASSES, COUNTED_LEVELS), np.int64)
    for t in range(len(integers)):
        shift = shifts[classes[t]]
        symbol = np.int64(integers[t]) >> shift
        level = symbol if symbol >= 0 else ~symbol if shift else -symbol
        counts[classes[t], min(level, COUNTED_LEVELS - 1)] += 1
    return counts


@numba.njit(cache=True, nogil=True)
def encode_lane(
    integers: Array, classes: Array, shifts: Array, levels: Array, frequencies: Array, starts: Array
) -> NDArray[np.uint8]:
    """Return the bytes of a lane for integers, (n,), and their classes."""
    # Words grow downwards from the middle, escaped numbers upwards.
    first = last = _MOST_BYTES * len(integers) + STATE_BYTES
    data = np.empty(2 * first, np.uint8)
    state = np.uint32(LEAST_STATE)
    for t in range(len(integers) - 1, -1, -1):
        index = classes[t]
        shift, limit = shifts[index], levels[index]
        symbol = np.int64(integers[t]) >> shift
        level = symbol if symbol >= 0 else ~symbol if shift else -symbol
        if level >= limit:
            last = _append_escape(data, last, level - limit)
            symbol = limit if symbol >= 0 else ~limit if shift else -limit
        if shift:
            if state >> np.uint32(_STATE_BITS - shift):
                first -= 2
                data[first], data[first + 1] = state & 255, state >> 8 & 255
                state >>= np.uint32(16)
            state = np.uint32(state << np.uint32(shift) | integers[t] & (1 << shift) - 1)
        frequency, start = np.uint32(frequencies[index, symbol]), np.uint32(starts[index, symbol])
        if np.uint64(state) >= np.uint64(frequency) << np.uint64(_STATE_BITS - PROBABILITY_BITS):
            first -= 2
            data[first], data[first + 1] = state & 255, state >> 8 & 255
            state >>= np.uint32(16)
        quotient = state // frequency
        rest = state - quotient * frequency
        state = np.uint32((quotient << np.uint32(PROBABILITY_BITS)) + rest + start)
    first -= STATE_BYTES
    for index in range(STATE_BYTES):
        data[first + index] = state >> 8 * index & 255
    return data[first:last].copy()


@numba.njit(cache=True, nogil=True)
def _append_escape(data: NDArray[np.uint8], place: int, number: int) -> int:
    """Append a number of 7 bits per byte, the highest ones first, and return the place behind it."""
    parts = 1
    while number >> 7 * parts:
        parts += 1
    for index in range(parts - 1, -1, -1):
        data[place] = number >> 7 * index & 127 | (128 if index < parts - 1 else 0)
        place += 1
    return place
