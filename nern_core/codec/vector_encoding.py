"""Encode many lanes at once with NumPy: in each step, one integer of every lane (see `single_lane`)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nern_core.codec.distributions import PROBABILITY_BITS, SYMBOLS, CodingTables
from nern_core.codec.lane_groups import BLOCK_STEPS, Block, LaneGroup, LaneGroups
from nern_core.codec.lanes import LEAST_STATE, STATE_BYTES, varint

_STATE_BITS = 32


def encode_lanes(groups: Sequence[LaneGroup], tables: CodingTables) -> list[bytes]:
    """Return the bytes of each lane, in the order of the groups and of the lanes in them."""
    lanes = LaneGroups(groups)
    encoder = _Encoder(lanes.count)
    for start in reversed(range(0, lanes.steps, BLOCK_STEPS)):
        stop = min(start + BLOCK_STEPS, lanes.steps)
        integers, classes = lanes.integers(start, stop), lanes.classes(start, stop)
        shifts = tables.shifts[classes]
        frequencies, offsets = encoder.escape(integers, classes, shifts, tables)
        has_raw = shifts.max(axis=1)
        integers &= (1 << shifts) - 1
        counts = lanes.active(start, stop)
        for step in reversed(range(stop - start)):
            active = counts[step]
            if has_raw[step]:
                encoder.push_raw(integers[step, :active], shifts[step, :active])
            encoder.push(frequencies[step, :active], offsets[step, :active])
    streams = [b""] * lanes.count
    for lane, stream in zip(lanes.order.tolist(), encoder.streams(), strict=True):
        streams[lane] = stream
    return streams


class _Encoder:
    """States, words and escaped numbers of all lanes."""

    def __init__(self, count: int) -> None:
        self._states = np.full(count, LEAST_STATE, np.int64)
        self._senders, self._words = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        self._escapes = [bytearray() for _ in range(count)]

    def escape(self, integers: Block, classes: Block, shifts: Block, tables: CodingTables) -> tuple[Block, Block]:
        """Return the frequency and the start of each integer's symbol, and store escaped numbers."""
        symbols = integers >> shifts
        levels = np.abs(symbols)
        # With a shift, the level of a negative symbol is one less.
        levels -= (shifts > 0) & (symbols < 0)
        limits = tables.levels[classes]
        # After the end of a lane, there may be no distribution.
        steps, lanes = np.nonzero((levels >= limits) & (limits > 0))
        if len(steps):
            limit, symbol = limits[steps, lanes], symbols[steps, lanes]
            excess = levels[steps, lanes] - limit
            for lane, number in zip(lanes[::-1].tolist(), excess[::-1].tolist(), strict=True):
                self._escapes[lane] += varint(number)[::-1]
            negative = np.where(shifts[steps, lanes] > 0, ~limit, -limit)
            symbols[steps, lanes] = np.where(symbol >= 0, limit, negative)
        # Negative symbols are counted from the end.
        classes *= SYMBOLS
        symbols &= SYMBOLS - 1
        classes += symbols
        return tables.frequencies.take(classes), tables.starts.take(classes)

    def push_raw(self, bits: Block, shifts: Block) -> None:
        """Append raw bits to the states."""
        states = self._states[: len(bits)]
        self._shrink(states, states >> (_STATE_BITS - shifts) > 0)
        states <<= shifts
        states |= bits

    def push(self, frequencies: Block, starts: Block) -> None:
        """Append symbols to the states."""
        states = self._states[: len(frequencies)]
        self._shrink(states, states >= frequencies << (_STATE_BITS - PROBABILITY_BITS))
        quotients, rests = np.divmod(states, frequencies)
        np.left_shift(quotients, PROBABILITY_BITS, out=states)
        states += rests
        states += starts

    def _shrink(self, states: Block, are_full: NDArray[np.bool_]) -> None:
        """Move the low 16 bits of full states to the words."""
        full = are_full.nonzero()[0]
        if len(full):
            values = states[full]
            self._senders.append(full)
            self._words.append(values & (1 << 16) - 1)
            states[full] = values >> 16

    def streams(self) -> list[bytes]:
        """Return the bytes of each lane."""
        senders, words = (np.concatenate(parts[::-1]) for parts in (self._senders, self._words))
        order = np.argsort(senders, kind="stable")
        ends = np.bincount(senders, minlength=len(self._states)).cumsum()[:-1]
        bodies = np.split(words[order].astype("<u2"), ends)
        return [
            state.to_bytes(STATE_BYTES, "little") + body.tobytes() + bytes(escapes)
            for state, body, escapes in zip(self._states.tolist(), bodies, self._escapes, strict=True)
        ]
