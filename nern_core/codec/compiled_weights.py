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

    `sides` are the three axes of a kernel, and `bases` their cosines, (side, side).
    """

    of_positions: Array
    of_sums: Array
    least: int
    filters: Array
    channels: Array
    is_transformed: bool
    sides: tuple[int, int, int]
    bases: tuple[Array, Array, Array]


@numba.njit(cache=True, nogil=True)
def set_weights(integers: Array, kernel: int, steps: Steps, out: Array) -> None:
    """Set the weights, float32 or float64, of the integers of consecutive kernels from `kernel` on.

    `integers` and `out` may be the same memory.
    """
    width = len(steps.of_positions)
    chunk = max(1, _CHUNK // width)
    values, spare = np.empty((width, chunk), np.float32), np.empty((width, chunk), np.float32)
    factors, sums = np.empty(chunk), np.empty(chunk)
    kernels = len(integers) // width
    for first in range(0, kernels, chunk):
        count = min(chunk, kernels - first)
        _fill_factors(kernel + first, count, steps, factors)
        part = slice(first * width, (first + count) * width)
        if steps.is_transformed:
            _transform(integers[part], steps, values[:, :count], spare[:, :count], sums[:count], factors, out[part])
        elif width == 1:
            step = steps.of_positions[0]
            found, target = integers[part], out[part]
            for index in range(count):
                target[index] = np.float64(np.float32(found[index] * step)) * factors[index]
        else:
            _scale(integers[part], steps.of_positions, factors, out[part])


@numba.njit(cache=True, nogil=True)
def set_halves(integers: Array, kernel: int, steps: Steps, is_bfloat16: bool, out: Array) -> None:
    """Set the bits, uint16, of weights in float16 or bfloat16 (see `set_weights`)."""
    width = len(steps.of_positions)
    chunk = max(1, _CHUNK // width) * width
    singles = np.empty(chunk, np.float32)
    for start in range(0, len(integers), chunk):
        part = integers[start : start + chunk]
        set_weights(part, kernel + start // width, steps, singles[: len(part)])
        _round_halves(singles[: len(part)].view(np.uint32), is_bfloat16, out[start : start + chunk])


@numba.njit(cache=True, nogil=True)
def _fill_factors(kernel: int, count: int, steps: Steps, factors: Array) -> None:
    """Set the step of each of `count` kernels from `kernel` on."""
    done = 0
    while done < count:
        row, column = divmod(kernel + done, len(steps.channels))
        run = min(len(steps.channels) - column, count - done)
        base = steps.filters[row] - steps.least
        for index in range(run):
            factors[done + index] = steps.of_sums[base + steps.channels[column + index]]
        done += run


@numba.njit(cache=True, nogil=True)
def _scale(integers: Array, of_positions: Array, factors: Array, out: Array) -> None:
    """Multiply the integers of kernels by the steps of positions and of kernels."""
    width = len(of_positions)
    for index in range(len(integers) // width):
        factor, start = factors[index], index * width
        for place in range(width):
            out[start + place] = np.float64(np.float32(integers[start + place] * of_positions[place])) * factor


@numba.njit(cache=True, nogil=True)
def _transform(
    integers: Array, steps: Steps, values: Array, spare: Array, sums: Array, factors: Array, out: Array
) -> None:
    """Do the same for kernels that are transformed. `values`, (P, kernels), has a row for each position."""
    width, count = values.shape
    for place in range(width):
        row, step = values[place], steps.of_positions[place]
        for index in range(count):
            row[index] = np.float32(integers[index * width + place] * step)
    inner = 1
    for axis in range(2, -1, -1):
        side = steps.sides[axis]
        if side > 1:
            for start in range(0, width, side * inner):
                for place in range(start, start + inner):
                    _inverse_axis(values[place::inner], spare[place::inner], steps.bases[axis], sums)
            values, spare = spare, values
        inner *= side
    for place in range(width):
        row = values[place]
        for index in range(count):
            out[index * width + place] = np.float64(row[index]) * factors[index]


@numba.njit(cache=True, nogil=True)
def _inverse_axis(source: Array, target: Array, basis: Array, sums: Array) -> None:
    """Set rows of `target` to the inverse transform of the first rows of `source`, as many as the basis has."""
    side = len(basis)
    for i in range(side):
        row = target[i]
        if side == 3:
            first, second, third = source[0], source[1], source[2]
            for index in range(len(sums)):
                total = basis[0, i] * np.float64(first[index]) + basis[1, i] * np.float64(second[index])
                row[index] = np.float32(total + basis[2, i] * np.float64(third[index]))
            continue
        for index in range(len(sums)):
            sums[index] = basis[0, i] * np.float64(source[0, index])
        for k in range(1, side):
            for index in range(len(sums)):
                sums[index] += basis[k, i] * np.float64(source[k, index])
        for index in range(len(sums)):
            row[index] = np.float32(sums[index])


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
