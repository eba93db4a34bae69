"""Encode and decode one lane with plain Python: for tables, single kernels and layers of few lanes.

This is also the shortest description of the coder, which `vector_lanes` and `compiled_lanes` repeat in other forms. It
is a range variant of asymmetric numeral systems (rANS): the encoder starts at the end, and the decoder undoes its
operations in the opposite order.
"""

from collections.abc import Sequence

from nern_core.codec.distributions import FREQUENCY_SHIFT, OFFSET_SHIFT, PROBABILITY_BITS, CodingTables
from nern_core.codec.lanes import LEAST_STATE, STATE_BYTES, damaged_lane, read_varint, varint
from nern_core.codec.layers import LARGEST_INTEGER

_SLOT_MASK = (1 << PROBABILITY_BITS) - 1
_STATE_BITS = 32
_WORD_MASK = (1 << 16) - 1


def encode_lane(integers: Sequence[int], classes: Sequence[int], tables: CodingTables) -> bytes:
    """Return the bytes of a lane for integers and their classes."""
    shifts, levels = tables.shifts.tolist(), tables.levels.tolist()
    state, words, escapes = LEAST_STATE, bytearray(), bytearray()
    for integer, index in zip(reversed(integers), reversed(classes), strict=True):
        shift, limit = shifts[index], levels[index]
        symbol = integer >> shift
        level = abs(symbol) if symbol >= 0 or not shift else ~symbol
        if level >= limit:
            escapes += varint(level - limit)[::-1]
            symbol = limit if symbol >= 0 else ~limit if shift else -limit
        if shift:
            if state >> (_STATE_BITS - shift):
                words += (state & _WORD_MASK).to_bytes(2, "big")
                state >>= 16
            state = state << shift | integer & (1 << shift) - 1
        frequency, start = int(tables.frequencies[index, symbol]), int(tables.starts[index, symbol])
        if state >= frequency << (_STATE_BITS - PROBABILITY_BITS):
            words += (state & _WORD_MASK).to_bytes(2, "big")
            state >>= 16
        quotient, rest = divmod(state, frequency)
        state = (quotient << PROBABILITY_BITS) + rest + start
    return state.to_bytes(STATE_BYTES, "little") + bytes(reversed(words)) + bytes(escapes)


def decode_lane(lane: bytes, classes: Sequence[int], tables: CodingTables, *, is_whole: bool = True) -> list[int]:
    """Return the integers of a lane, one for each class. Raises `NernError` (`bad_encoding`).

    If the lane `is_whole`, all of its bytes must be used.
    """
    state, place = int.from_bytes(lane[:STATE_BYTES], "little"), STATE_BYTES
    if len(lane) < STATE_BYTES or state < LEAST_STATE:
        raise damaged_lane()
    backwards, escapes = lane[: STATE_BYTES - 1 : -1], 0
    shifts, levels = tables.shifts.tolist(), tables.levels.tolist()
    integers = []
    for index in classes:
        slot = int(tables.slots[index, state & _SLOT_MASK])
        state = (slot >> FREQUENCY_SHIFT) * (state >> PROBABILITY_BITS) + (slot >> OFFSET_SHIFT & _SLOT_MASK)
        if state < LEAST_STATE:
            state, place = _with_word(state, lane, place)
        shift = shifts[index]
        number = (slot >> 1 & 63 ^ 32) - 32
        if slot & 1:
            excess, escapes = read_varint(backwards, escapes)
            level = levels[index] + excess
            number = level if number >= 0 else ~level if shift else -level
        if shift:
            number = number << shift | state & (1 << shift) - 1
            state >>= shift
            if state < LEAST_STATE:
                state, place = _with_word(state, lane, place)
        if abs(number) > LARGEST_INTEGER:
            raise damaged_lane()
        integers.append(number)
    if is_whole and (state != LEAST_STATE or place + escapes != len(lane)):
        raise damaged_lane()
    return integers


def _with_word(state: int, lane: bytes, place: int) -> tuple[int, int]:
    """Return the state with the next word appended, and the place behind it."""
    return state << 16 | int.from_bytes(lane[place : place + 2], "little"), place + 2
