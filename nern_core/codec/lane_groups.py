"""Lanes of several layers side by side, so that NumPy handles one integer of each of them at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nern_core.codec.layers import Integers

# Integers of each lane that are brought into the order of steps together.
BLOCK_STEPS = 64

# Numbers of some steps, (steps, lanes).
Block = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LaneGroup:
    """Consecutive lanes of a layer with equally many integers each: `integers` and their `classes`, (lanes, integers).

    For decoding, both may be the same array: each class is replaced by an integer.
    """

    integers: Integers
    classes: NDArray[np.integer]


class LaneGroups:
    """Groups of lanes, sorted by their numbers of integers, the longest first.

    So the lanes that still have integers in a step are the first ones. `order` has the place of each lane in the order
    in which the groups were given.
    """

    def __init__(self, groups: Sequence[LaneGroup]) -> None:
        starts = np.cumsum([0, *(len(group.integers) for group in groups)])
        by_size = sorted(range(len(groups)), key=lambda index: -groups[index].integers.shape[1])
        self.order = np.concatenate([np.arange(starts[index], starts[index + 1]) for index in by_size])
        self._groups = [groups[index] for index in by_size]
        self._sizes = np.concatenate([np.full(len(group.integers), group.integers.shape[1]) for group in self._groups])

    @property
    def steps(self) -> int:
        """Return the number of integers of the longest lane."""
        return int(self._sizes[0])

    @property
    def count(self) -> int:
        """Return the number of lanes."""
        return len(self._sizes)

    def active(self, start: int, stop: int) -> list[int]:
        """Return the number of lanes that have an integer in each of these steps."""
        counts: list[int] = np.searchsorted(-self._sizes, -np.arange(start, stop), side="left").tolist()
        return counts

    def classes(self, start: int, stop: int) -> Block:
        """Return the classes of these steps, 0 after the end of a lane."""
        return self._read(start, stop, [group.classes for group in self._groups])

    def integers(self, start: int, stop: int) -> Block:
        """Return the integers of these steps, 0 after the end of a lane."""
        return self._read(start, stop, [group.integers for group in self._groups])

    def _read(self, start: int, stop: int, arrays: Sequence[NDArray[np.integer]]) -> Block:
        block = np.zeros((stop - start, self.count), np.int64)
        for index, part in self._parts(start, stop):
            # Lanes are far apart in memory. A copy side by side makes the transposition twice as fast.
            block[part] = np.ascontiguousarray(arrays[index][:, start:stop]).T
        return block

    def write(self, start: int, stop: int, integers: Block) -> None:
        """Set the integers of these steps."""
        for index, part in self._parts(start, stop):
            self._groups[index].integers[:, start:stop] = np.ascontiguousarray(integers[part].T, np.int32)

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, tuple[slice, slice]]]:
        """Yield the index of each group that has integers in these steps, and their place in a block."""
        first = 0
        for index, group in enumerate(self._groups):
            count, size = group.integers.shape
            if size > start:
                yield index, (slice(0, min(stop, size) - start), slice(first, first + count))
            first += count


def layer_groups(integers: Integers, classes: NDArray[np.integer], lane_size: int) -> list[LaneGroup]:
    """Divide the integers of a layer, (n,), and their classes into its whole lanes and the rest."""
    whole = len(integers) // lane_size * lane_size
    parts = [(slice(0, whole), lane_size), (slice(whole, None), len(integers) - whole)]
    return [
        LaneGroup(integers[part].reshape(-1, size), classes[part].reshape(-1, size))
        for part, size in parts
        if len(integers[part])
    ]
