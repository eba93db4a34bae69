"""Decode lanes by compiled loops (see `single_lane` for the coder).

A thread decodes four lanes together: while one waits for memory or a product, the others advance.
"""

from typing import Any, Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from nern_core.codec.distributions import FREQUENCY_SHIFT, OFFSET_SHIFT, PROBABILITY_BITS
from nern_core.codec.lanes import LEAST_STATE, MOST_VARINT_BYTES, STATE_BYTES
from nern_core.codec.layers import CLASSES, LARGEST_INTEGER

LANES_TOGETHER: Final = 4
# Integers of each lane that are decoded at once, if kernels are not larger.
_CHUNK = 1 << 9
_SLOT_MASK = np.uint64((1 << PROBABILITY_BITS) - 1)
_PROBABILITY_BITS = np.uint64(PROBABILITY_BITS)
_FREQUENCY_SHIFT = np.uint64(FREQUENCY_SHIFT)
_OFFSET_SHIFT = np.uint64(OFFSET_SHIFT)
_LEAST_STATE = np.uint64(LEAST_STATE)
_WORD_BITS = np.uint64(16)
_ONE, _ZERO = np.uint64(1), np.uint64(0)
_FIRST_CLASS, _LAST_CLASS = np.int32(0), np.int32(CLASSES - 1)
# The symbol and the mark of an escape are the lowest bits of a slot.
_SIGN_SHIFT = 25

# For mypy, elements of arrays are anything, as numba infers their types.
Array = NDArray[Any]
_Advanced = tuple[np.uint64, np.uint64, np.int32]


class Source(NamedTuple):
    """A layer's stream, the bounds of its lanes, the integers of a lane, and those of the layer."""

    stream: Array
    bounds: Array
    lane_size: int
    integers: int


class Coding(NamedTuple):
    """The tables of scales and of distributions (see `CodingTables`)."""

    filters: Array
    channels: Array
    positions: Array
    slots: Array
    shifts: Array
    levels: Array


class _Lanes(NamedTuple):
    """Up to four lanes: their sizes in integers, states, and places of the next word and behind the next escape.

    `words` has the bytes of all lanes; those of a lane start at `starts`.
    """

    sizes: Array
    states: Array
    places: Array
    escapes: Array
    starts: Array
    words: Array


@numba.njit(cache=True, nogil=True)
def decode_lanes(first: int, count: int, source: Source, coding: Coding, out: Array) -> bool:
    """Decode up to four consecutive lanes to `out`, int32. Return False if they are damaged."""
    width = len(coding.positions)
    chunk = max(1, _CHUNK // width) * width
    lanes = _read_lanes(first, count, source, chunk)
    states, places, escapes = lanes.states, lanes.places, lanes.escapes
    data = lanes.words.view(np.uint8)
    if states[:count].min() < _LEAST_STATE:
        return False
    classes, found = np.zeros((4, chunk), np.uint8), np.zeros((4, chunk), np.int32)
    for start in range(0, lanes.sizes[0], chunk):
        has_raw = False
        counts = np.minimum(np.maximum(lanes.sizes - start, 0), chunk)
        for lane in range(count):
            place = (first + lane) * source.lane_size + start
            largest = _fill_classes(place, counts[lane], coding, classes[lane])
            has_raw |= coding.shifts[largest] > 0
        common = counts.min()
        _advance_four(common, lanes, classes, coding.slots, coding.shifts, has_raw, found)
        for lane in range(count):
            _advance_one(lane, common, counts[lane], lanes, classes, coding.slots, coding.shifts, found)
            integers = found[lane, : counts[lane]]
            if not _finish(integers, classes[lane], coding, data, lane, lanes):
                return False
            place = lane * source.lane_size + start
            out[place : place + len(integers)] = integers
    for lane in range(count):
        if states[lane] != _LEAST_STATE or 2 * np.int64(places[lane]) != escapes[lane]:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _read_lanes(first: int, count: int, source: Source, chunk: int) -> _Lanes:
    """Return consecutive lanes at their first integers, with their words aligned."""
    states, places = np.zeros(4, np.uint64), np.zeros(4, np.uint64)
    sizes, escapes, starts = np.zeros(4, np.int64), np.zeros(4, np.int64), np.zeros(5, np.int64)
    for lane in range(count):
        length = source.bounds[first + lane + 1] - source.bounds[first + lane] - STATE_BYTES
        starts[lane + 1] = starts[lane] + length + length % 2
        sizes[lane] = min(source.lane_size, source.integers - (first + lane) * source.lane_size)
    # Damaged lanes read too far until the chunk ends: at most two words for each integer.
    words = np.zeros(starts[count] // 2 + 2 * chunk + 1, np.uint16)
    data = words.view(np.uint8)
    for lane in range(count):
        start = source.bounds[first + lane]
        for index in range(STATE_BYTES):
            states[lane] |= np.uint64(source.stream[start + index]) << np.uint64(8 * index)
        body = source.stream[start + STATE_BYTES : source.bounds[first + lane + 1]]
        data[starts[lane] : starts[lane] + len(body)] = body
        places[lane] = np.uint64(starts[lane] // 2)
        escapes[lane] = starts[lane] + len(body)
    return _Lanes(sizes, states, places, escapes, starts, words)


@numba.njit(cache=True, nogil=True)
def _fill_classes(first: int, count: int, coding: Coding, classes: Array) -> np.int32:
    """Set the classes of `count` integers from place `first` in the layer, whole kernels; return the largest one."""
    filters, channels, positions = coding.filters, coding.channels, coding.positions
    width = len(positions)
    kernel, done, largest = first // width, 0, _FIRST_CLASS
    while done < count:
        row, column = divmod(kernel, len(channels))
        if width == 1:
            run = min(len(channels) - column, count - done)
            base, summands = filters[row] + positions[0], channels[column : column + run]
            kernel += run
        else:
            run = width
            base, summands = filters[row] + channels[column], positions
            kernel += 1
        target = classes[done : done + run]
        for index in range(run):
            found = min(max(np.int32(base + summands[index]), _FIRST_CLASS), _LAST_CLASS)
            target[index] = found
            largest = max(largest, found)
        done += run
    return largest


@numba.njit(cache=True, nogil=True)
def _advance_four(
    count: int, lanes: _Lanes, classes: Array, slots: Array, shifts: Array, has_raw: bool, found: Array
) -> None:
    """Decode `count` integers of each of four lanes; a row of `classes` and `found` is a lane.

    An integer is stored twice as large, plus 1 if it is an escape; then it has the right sign and raw bits only.
    """
    states, places, words = lanes.states, lanes.places, lanes.words
    state_0, state_1, state_2, state_3 = states[0], states[1], states[2], states[3]
    place_0, place_1, place_2, place_3 = places[0], places[1], places[2], places[3]
    classes_0, classes_1, classes_2, classes_3 = classes[0], classes[1], classes[2], classes[3]
    found_0, found_1, found_2, found_3 = found[0], found[1], found[2], found[3]
    if has_raw:
        for t in range(count):
            state_0, place_0, found_0[t] = _advance_raw(state_0, place_0, words, classes_0[t], slots, shifts)
            state_1, place_1, found_1[t] = _advance_raw(state_1, place_1, words, classes_1[t], slots, shifts)
            state_2, place_2, found_2[t] = _advance_raw(state_2, place_2, words, classes_2[t], slots, shifts)
            state_3, place_3, found_3[t] = _advance_raw(state_3, place_3, words, classes_3[t], slots, shifts)
    else:
        for t in range(count):
            state_0, place_0, found_0[t] = _advance(state_0, place_0, words, classes_0[t], slots)
            state_1, place_1, found_1[t] = _advance(state_1, place_1, words, classes_1[t], slots)
            state_2, place_2, found_2[t] = _advance(state_2, place_2, words, classes_2[t], slots)
            state_3, place_3, found_3[t] = _advance(state_3, place_3, words, classes_3[t], slots)
    states[0], states[1], states[2], states[3] = state_0, state_1, state_2, state_3
    places[0], places[1], places[2], places[3] = place_0, place_1, place_2, place_3


@numba.njit(cache=True, nogil=True)
def _advance_one(
    lane: int, start: int, stop: int, lanes: _Lanes, classes: Array, slots: Array, shifts: Array, found: Array
) -> None:
    """Decode the integers `start` to `stop` of one lane."""
    states, places, words = lanes.states, lanes.places, lanes.words
    state, place = states[lane], places[lane]
    for t in range(start, stop):
        state, place, found[lane, t] = _advance_raw(state, place, words, classes[lane, t], slots, shifts)
    states[lane], places[lane] = state, place


@numba.njit(cache=True, nogil=True, inline="always")
def _advance(state: np.uint64, place: np.uint64, words: Array, index: np.int32, slots: Array) -> _Advanced:
    """Decode one integer of a class without raw bits."""
    slot = slots[(np.uint64(index) << _PROBABILITY_BITS) | (state & _SLOT_MASK)]
    wide = np.uint64(slot)
    state = (wide >> _FREQUENCY_SHIFT) * (state >> _PROBABILITY_BITS) + ((wide >> _OFFSET_SHIFT) & _SLOT_MASK)
    state, place = _grow(state, place, words)
    return state, place, np.int32(np.uint32(slot) << np.uint32(_SIGN_SHIFT)) >> np.int32(_SIGN_SHIFT)


@numba.njit(cache=True, nogil=True, inline="always")
def _advance_raw(
    state: np.uint64, place: np.uint64, words: Array, index: np.int32, slots: Array, shifts: Array
) -> _Advanced:
    """Decode one integer of any class."""
    state, place, number = _advance(state, place, words, index, slots)
    shift = shifts[index]
    bits = np.uint64(shift)
    low = np.int32(state & ((_ONE << bits) - _ONE))
    state, place = _grow(state >> bits, place, words)
    return state, place, (((number >> 1) << shift | low) << 1) | (number & 1)


@numba.njit(cache=True, nogil=True, inline="always")
def _grow(state: np.uint64, place: np.uint64, words: Array) -> tuple[np.uint64, np.uint64]:
    """Append the next word to a small state. There is no branch, because a processor could not predict it."""
    is_small = state < _LEAST_STATE
    grown = (state << _WORD_BITS) | np.uint64(words[place])
    return (grown if is_small else state), place + (_ONE if is_small else _ZERO)


@numba.njit(cache=True, nogil=True)
def _finish(integers: Array, classes: Array, coding: Coding, data: Array, lane: int, lanes: _Lanes) -> bool:
    """Replace what `_advance_four` has found by integers, and read those that are escaped; False if damaged."""
    shifts, escapes = coding.shifts, lanes.escapes
    # Words and escapes must not overlap, and words not leave the lane.
    if 2 * np.int64(lanes.places[lane]) > escapes[lane]:
        return False
    has_escapes = 0
    for t in range(len(integers)):
        has_escapes |= integers[t] & 1
    for t in range(len(integers) if has_escapes else 0):
        if integers[t] & 1:
            excess, index = 0, 0
            while True:
                escapes[lane] -= 1
                if escapes[lane] < lanes.starts[lane] or index == MOST_VARINT_BYTES:
                    return False
                byte = data[escapes[lane]]
                excess |= int(byte & 127) << 7 * index
                index += 1
                if byte < 128:
                    break
            number, shift = np.int64(integers[t]) >> 1, np.int64(shifts[classes[t]])
            level = coding.levels[classes[t]] + excess
            high = level if number >= 0 else ~level if shift else -level
            number = high << shift | number & (np.int64(1) << shift) - 1
            if abs(number) > LARGEST_INTEGER:
                return False
            integers[t] = np.int32(number) << 1
    for t in range(len(integers)):
        integers[t] >>= 1
    return True
