"""Weights from integers by compiled loops, with the same bits as those of `reconstruction`."""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

# Integers that become weights while they are in the processor's cache, if kernels are not larger.
_CHUNK = 1 << 11

# For mypy, elements of arrays are anything, as numba infers their types.
Array = NDArray[Any]


class Steps(NamedTuple):
    """Steps of positions, of sums of other exponents from `least`, those exponents, and how kernels are transformed.

    `sides` are the three axes of a kernel, and `bases` their cosines, (side, side). A side of 1 is not transformed.
    """

    of_positions: Array
    of_sums: Array
    least: int
    filters: Array
    channels: Array
    sides: tuple[int, int, int]
    bases: tuple[Array, Array, Array]


@numba.njit(cache=True, nogil=True)
def set_weights(integers: Array, kernel: int, steps: Steps, out: Array) -> None:
    """Set the weights, float32 or float64, of the integers of consecutive kernels from `kernel` on.

    `integers` and `out` may be the same memory.
    """
    width = len(steps.of_positions)
    chunk = max(1, _CHUNK // width) * width
    scratch = np.empty((2, chunk), np.float32)
    for start in range(0, len(integers), chunk):
        part = integers[start : start + chunk]
        _weights(part, kernel + start // width, steps, scratch, out[start : start + chunk])


@numba.njit(cache=True, nogil=True)
def set_halves(integers: Array, kernel: int, steps: Steps, is_bfloat16: bool, out: Array) -> None:
    """Set the bits, uint16, of weights in float16 or bfloat16 (see `set_weights`)."""
    width = len(steps.of_positions)
    chunk = max(1, _CHUNK // width) * width
    scratch, singles = np.empty((2, chunk), np.float32), np.empty(chunk, np.float32)
    for start in range(0, len(integers), chunk):
        part = integers[start : start + chunk]
        _weights(part, kernel + start // width, steps, scratch, singles)
        _round_halves(singles[: len(part)].view(np.uint32), is_bfloat16, out[start : start + chunk])


@numba.njit(cache=True, nogil=True)
def _weights(integers: Array, kernel: int, steps: Steps, scratch: Array, out: Array) -> None:
    """Set the weights, float32 or float64, of the integers of consecutive kernels."""
    count, width = len(integers), len(steps.of_positions)
    values, spare = scratch[0, :count], scratch[1, :count]
    if width == 1:
        step = steps.of_positions[0]
        for t in range(count):
            values[t] = np.float32(integers[t] * step)
    else:
        for start in range(0, count, width):
            for place in range(width):
                values[start + place] = np.float32(integers[start + place] * steps.of_positions[place])
    inner = 1
    for axis in range(2, -1, -1):
        side = steps.sides[axis]
        if side > 1:
            _inverse_axis(values, spare, side, inner, steps.bases[axis])
            values, spare = spare, values
        inner *= side
    kernels, done = count // width, 0
    while done < kernels:
        row, column = divmod(kernel + done, len(steps.channels))
        run = min(len(steps.channels) - column, kernels - done)
        base = steps.filters[row] - steps.least
        for index in range(run):
            step = steps.of_sums[base + steps.channels[column + index]]
            start = (done + index) * width
            for t in range(start, start + width):
                out[t] = values[t] * step
        done += run


@numba.njit(cache=True, nogil=True)
def _inverse_axis(source: Array, target: Array, side: int, inner: int, basis: Array) -> None:
    """Transform along the axis of this side in front of axes with `inner` values."""
    for start in range(0, len(source), side * inner):
        for offset in range(start, start + inner):
            for i in range(side):
                total = basis[0, i] * np.float64(source[offset])
                for k in range(1, side):
                    total += basis[k, i] * np.float64(source[offset + k * inner])
                target[offset + i * inner] = np.float32(total)


@numba.njit(cache=True, nogil=True)
def _round_halves(bits: Array, is_bfloat16: bool, out: Array) -> None:
    """Round the bits of float32 to those of bfloat16 or float16, to nearest even."""
    if is_bfloat16:
        for t in range(len(bits)):
            wide = np.int64(bits[t])
            out[t] = (wide + 0x7FFF + (wide >> 16 & 1)) >> 16
        return
    for t in range(len(bits)):
        sign, size = int(bits[t] >> 16) & 0x8000, int(bits[t]) & 0x7FFFFFFF
        if size >= 0x7F800000:
            half = 0x7E00 if size > 0x7F800000 else 0x7C00
        elif size >= 0x47800000:
            half = 0x7C00
        elif size >= 0x38800000:
            half = (size - 0x38000000 + 0xFFF + (size >> 13 & 1)) >> 13
        else:
            # Below 2 ** -14, a unit is 2 ** -24.
            shift = min(126 - (size >> 23), 25)
            units = size & 0x7FFFFF | 0x800000
            half = (units + (1 << shift - 1) - 1 + (units >> shift & 1)) >> shift
        out[t] = sign | half
