"""The stream of a layer, with everything that is needed to decode it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nern_core.codec.distributions import CodingTables
from nern_core.codec.lanes import lane_bounds
from nern_core.codec.layers import LayerShape, LayerTables, WeightType
from nern_core.codec.reconstruction import weights_of
from nern_core.codec.single_lane import decode_lane
from nern_core.codec.steps import STEPS_PER_OCTAVE
from nern_core.contract.errors import NernError

_BITS_OF_INTEGERS = 24
# Octaves below the largest number of a type, with a margin.
_OCTAVES = {WeightType.FLOAT16: 15, WeightType.BFLOAT16: 126, WeightType.FLOAT32: 126, WeightType.FLOAT64: 1022}


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """A layer's shape and tables, its stream, and the distributions of all classes.

    `lane_size` is the number of integers of every lane except the last one.
    """

    shape: LayerShape
    tables: LayerTables
    stream: bytes
    coding: CodingTables
    lane_size: int

    def __post_init__(self) -> None:
        if not self.coding.levels[self.tables.used_classes()].all():
            raise NernError("bad_encoding", "The .nern file is damaged: a class of integers has no distribution.")

    @property
    def lanes(self) -> int:
        """Return the number of lanes."""
        return -(-self.shape.weights // self.lane_size)

    def bounds(self) -> NDArray[np.int64]:
        """Return the places in the stream where the lanes start, and its end. Raises `NernError` (`bad_encoding`)."""
        return lane_bounds(self.stream, self.lanes)

    def may_overflow(self, weight_type: WeightType) -> bool:
        """Return whether some integers would have weights, or values on the way to them, that are out of range."""
        exponents = self.tables.exponents
        sums = int(exponents.filters.max()) + int(exponents.channels.max())
        bits = _BITS_OF_INTEGERS + math.log2(self.shape.positions) + int(exponents.positions.max()) / STEPS_PER_OCTAVE
        return bits > _OCTAVES[WeightType.FLOAT32] or bits + sums / STEPS_PER_OCTAVE > _OCTAVES[weight_type]

    def kernel(self, filter_index: int, channel: int, weight_type: WeightType) -> NDArray[np.generic]:
        """Return the weights of one kernel, (P,), by decoding its lane up to there."""
        positions = self.shape.positions
        kernel = filter_index * self.shape.channels + channel
        lane, place = divmod(kernel * positions, self.lane_size)
        start, stop = self.bounds()[lane : lane + 2].tolist()
        classes = self._classes_up_to(kernel, (place + positions) // positions)
        integers = decode_lane(self.stream[start:stop], classes, self.coding, is_whole=False)
        last = np.array(integers[-positions:], np.int32)
        return weights_of(last[None], self.tables, self.shape, weight_type, kernel).reshape(-1)

    def _classes_up_to(self, kernel: int, count: int) -> list[int]:
        """Return the classes of the integers of `count` kernels that end with the given one."""
        filters, channels = np.divmod(np.arange(kernel + 1 - count, kernel + 1), self.shape.channels)
        scales = self.tables.scales
        sums = (scales.filters[filters] + scales.channels[channels])[:, None] + scales.positions
        return [int(number) for number in sums.clip(0, len(self.coding.levels) - 1).flatten()]
