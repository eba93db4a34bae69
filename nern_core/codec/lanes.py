"""Division of a layer's integers and of its stream into lanes, which are coded independently.

A lane has up to `LANE_INTEGERS` integers, always whole kernels. Its bytes are the last state of the encoder (uint32),
16-bit words in the order in which a decoder needs them, and escaped numbers backwards from the end. All numbers are
little-endian.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from nern_core.contract.errors import NernError

LANE_INTEGERS: Final = 1 << 15
# A state is between this, which is also that of an empty lane, and 2 ** 32.
LEAST_STATE: Final = 1 << 16
STATE_BYTES: Final = 4
# Numbers of 7 bits per byte, lowest first, have at most this many bytes.
MOST_VARINT_BYTES: Final = 4


def lane_size(positions: int) -> int:
    """Return the number of integers in a lane, except the last one, of a layer with kernels of this size."""
    return max(1, LANE_INTEGERS // positions) * positions


def lane_sizes(integers: int, positions: int) -> list[int]:
    """Return the number of integers in each lane of a layer."""
    size = lane_size(positions)
    return [min(size, integers - start) for start in range(0, integers, size)]


def join_lanes(lanes: list[bytes]) -> bytes:
    """Return the stream of a layer: the lengths of all lanes except the last one, then the lanes."""
    return b"".join([*(varint(len(lane)) for lane in lanes[:-1]), *lanes])


def lane_bounds(stream: bytes, count: int) -> NDArray[np.int64]:
    """Return the places in a layer's stream where its lanes start, and its end: (count + 1,).

    Raises `NernError` (`bad_encoding`).
    """
    lengths, place = [], 0
    for _ in range(count - 1):
        length, place = read_varint(stream, place)
        lengths.append(length)
    bounds = np.cumsum([place, *lengths, 0], dtype=np.int64)
    bounds[-1] = len(stream)
    if (np.diff(bounds) < STATE_BYTES).any():
        raise damaged_lane()
    return bounds


def varint(number: int) -> bytes:
    """Return a number as bytes of 7 bits, lowest first; all except the last one have their highest bit set."""
    parts = []
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def read_varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the number at this place, and the place behind it. Raises `NernError` (`bad_encoding`)."""
    number = 0
    for index, byte in enumerate(data[place : place + MOST_VARINT_BYTES]):
        number |= (byte & 127) << 7 * index
        if byte < 128:
            return number, place + index + 1
    raise damaged_lane()


def damaged_lane() -> NernError:
    """Return the error for a stream that cannot be decoded."""
    return NernError("bad_encoding", "The .nern file is damaged: a stream of integers cannot be decoded.")
