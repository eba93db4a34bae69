"""Decode many lanes at once with NumPy: in each step, one integer of every lane (see `single_lane`)."""

from collections.abc import Sequence

import numpy as np

from nern_core.codec.distributions import FREQUENCY_SHIFT, OFFSET_SHIFT, PROBABILITY_BITS, CodingTables
from nern_core.codec.lane_groups import BLOCK_STEPS, Block, LaneGroup, LaneGroups
from nern_core.codec.lanes import LEAST_STATE, MOST_VARINT_BYTES, STATE_BYTES, damaged_lane
from nern_core.codec.layers import LARGEST_INTEGER

# NumPy converts a Python number at every use, which takes longer than adding a row.
_SLOT_MASK, _PROBABILITY_BITS, _FREQUENCY_SHIFT, _OFFSET_SHIFT, _LEAST_STATE, _WORD_BITS, _ONE = (
    np.array(number, np.int64)
    for number in ((1 << PROBABILITY_BITS) - 1, PROBABILITY_BITS, FREQUENCY_SHIFT, OFFSET_SHIFT, LEAST_STATE, 16, 1)
)


def decode_lanes(groups: Sequence[LaneGroup], streams: Sequence[memoryview], tables: CodingTables) -> None:
    """Set the integers of all lanes; `streams` has the bytes of each one. Raises `NernError` (`bad_encoding`)."""
    lanes = LaneGroups(groups)
    decoder = _Decoder([streams[lane] for lane in lanes.order.tolist()])
    slots = tables.slots.reshape(-1).astype(np.int64)
    for start in range(0, lanes.steps, BLOCK_STEPS):
        stop = min(start + BLOCK_STEPS, lanes.steps)
        classes = lanes.classes(start, stop)
        shifts = tables.shifts[classes]
        has_raw = shifts.max(axis=1)
        classes <<= PROBABILITY_BITS
        found = np.zeros_like(classes)
        # Masks, which become raw bits.
        raw = (1 << shifts) - 1 if has_raw.any() else None
        for step, active in enumerate(lanes.active(start, stop)):
            decoder.pop(slots, classes[step, :active], found[step, :active])
            if raw is not None and has_raw[step]:
                decoder.pop_raw(shifts[step, :active], raw[step, :active])
        escaped = found & 1
        integers = (found >> 1 & 63 ^ 32) - 32
        if escaped.any():
            decoder.read_escapes(integers, escaped, tables.levels[classes >> PROBABILITY_BITS], shifts)
        if raw is not None:
            integers <<= shifts
            integers |= raw
        if max(int(integers.max()), -int(integers.min())) > LARGEST_INTEGER:
            raise damaged_lane()
        lanes.write(start, stop, integers)
    decoder.require_end()


class _Decoder:
    """States of all lanes, and their places in the bytes."""

    def __init__(self, streams: Sequence[memoryview]) -> None:
        # Every lane begins at an even place, so that the same bytes are words, too.
        padded = b"".join(part for stream in streams for part in (stream, b"\0" * (len(stream) % 2)))
        self._bytes = np.frombuffer(padded, np.uint8)
        self._words = self._bytes.view("<u2")
        lengths = np.array([len(stream) for stream in streams], np.int64)
        starts = np.cumsum(lengths + lengths % 2) - lengths - lengths % 2
        heads = self._words[(starts // 2)[:, None] + np.arange(STATE_BYTES // 2)].astype(np.int64)
        self._states = heads[:, 0] | heads[:, 1] << 16
        if (self._states < LEAST_STATE).any():
            raise damaged_lane()
        self._places = (starts + STATE_BYTES) // 2
        # The place behind the next escape.
        self._escapes = starts + lengths

    def pop(self, slots: Block, first_slots: Block, found: Block) -> None:
        """Take one symbol from the states, and store its slot in `found`."""
        states = self._states[: len(found)]
        places = np.bitwise_and(states, _SLOT_MASK)
        places += first_slots
        slots.take(places, out=found, mode="clip")
        np.right_shift(states, _PROBABILITY_BITS, states)
        np.right_shift(found, _FREQUENCY_SHIFT, places)
        states *= places
        np.right_shift(found, _OFFSET_SHIFT, places)
        np.bitwise_and(places, _SLOT_MASK, places)
        states += places
        self._grow(states)

    def pop_raw(self, shifts: Block, masks: Block) -> None:
        """Take raw bits from the states, and store them in `masks`."""
        states = self._states[: len(masks)]
        np.bitwise_and(states, masks, masks)
        np.right_shift(states, shifts, states)
        self._grow(states)

    def _grow(self, states: Block) -> None:
        """Append a word to small states. A damaged lane may read those of the next one: `require_end` finds this."""
        small = np.less(states, _LEAST_STATE).nonzero()[0]
        if len(small):
            places = self._places[small]
            grown = states[small]
            np.left_shift(grown, _WORD_BITS, grown)
            grown |= self._words.take(places, mode="clip")
            states[small] = grown
            places += _ONE
            self._places[small] = places

    def read_escapes(self, integers: Block, escaped: Block, levels: Block, shifts: Block) -> None:
        """Replace escape symbols by the numbers at the ends of the lanes."""
        # Sorted by lanes; each round reads the next number of every lane.
        lanes, steps = np.nonzero(escaped.T)
        counts = np.bincount(lanes, minlength=integers.shape[1])
        rounds = np.arange(len(lanes)) - np.repeat(counts.cumsum() - counts, counts)
        order = np.argsort(rounds, kind="stable")
        for members in np.split(order, np.bincount(rounds).cumsum()[:-1]):
            step, lane = steps[members], lanes[members]
            level = levels[step, lane] + self._varints(lane)
            is_negative = integers[step, lane] < 0
            negative = np.where(shifts[step, lane] > 0, ~level, -level)
            integers[step, lane] = np.where(is_negative, negative, level)

    def _varints(self, lanes: Block) -> Block:
        """Read one number of each of these lanes, backwards."""
        numbers = np.zeros(len(lanes), np.int64)
        unfinished = np.arange(len(lanes))
        for index in range(MOST_VARINT_BYTES):
            places = self._escapes[lanes[unfinished]] - 1
            read = self._bytes.take(places, mode="clip").astype(np.int64)
            self._escapes[lanes[unfinished]] = places
            numbers[unfinished] |= (read & 127) << 7 * index
            unfinished = unfinished[read > 127]
            if not len(unfinished):
                return numbers
        raise damaged_lane()

    def require_end(self) -> None:
        """Raise `NernError` (`bad_encoding`) unless all lanes are decoded to their ends."""
        if (2 * self._places != self._escapes).any() or (self._states != LEAST_STATE).any():
            raise damaged_lane()
