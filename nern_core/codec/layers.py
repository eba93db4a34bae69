"""Shapes, tables and integers of quantized layers."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nern_core.codec.cosines import LONGEST_SIDE
from nern_core.codec.steps import LARGEST_EXPONENT

CLASSES: Final = 64
LARGEST_INTEGER: Final = 1 << 24
LARGEST_SCALE: Final = 1 << 20
# Values of a kernel: no more than a decoder may hold several times, because it decodes whole kernels.
MOST_POSITIONS: Final = 1 << 18
_LARGEST_SPATIAL_AXES = 3

Integers = NDArray[np.int32]


class WeightType(StrEnum):
    """Types of decoded weights. NumPy has no bfloat16: such weights are the bits, in uint16."""

    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def storage(self) -> np.dtype[np.generic]:
        """Return the type of NumPy arrays that hold these weights."""
        return np.dtype("uint16" if self is WeightType.BFLOAT16 else self.value)


@dataclass(frozen=True, slots=True)
class LayerShape:
    """F filters, C channels, and the sides of a kernel: (3, 3), or (1,) for a matrix."""

    filters: int
    channels: int
    sides: tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.filters, self.channels, *self.sides) < 1:
            raise ValueError(f"no layer has the shape {self.filters} x {self.channels} x {self.sides}")

    @property
    def positions(self) -> int:
        """Return the number of values of a kernel."""
        return math.prod(self.sides)

    @property
    def kernels(self) -> int:
        """Return the number of kernels."""
        return self.filters * self.channels

    @property
    def weights(self) -> int:
        """Return the number of weights."""
        return self.kernels * self.positions

    @property
    def dimensions(self) -> tuple[int, int, int]:
        """Return the shape of the layer's integers: (F, C, P)."""
        return self.filters, self.channels, self.positions

    @property
    def products_of_transform(self) -> int:
        """Return the number of products that transform all kernels."""
        return self.weights * sum(self.sides)

    @property
    def can_be_transformed(self) -> bool:
        """Return whether kernels may be frequencies: up to 3 axes that are not too long."""
        return len(self.sides) <= _LARGEST_SPATIAL_AXES and max(self.sides) <= LONGEST_SIDE


@dataclass(frozen=True, slots=True)
class CoordinateTables:
    """A number for each filter, channel and position, int32: `filters` (F,), `channels` (C,), `positions` (P,)."""

    filters: Integers
    channels: Integers
    positions: Integers


@dataclass(frozen=True, slots=True)
class LayerTables:
    """Everything about a layer except its integers.

    `exponents` give the steps of its integers. The sums of `scales` are the classes that the integers are coded with.
    If `is_transformed`, positions are frequencies.
    """

    exponents: CoordinateTables
    scales: CoordinateTables
    is_transformed: bool = False

    def __post_init__(self) -> None:
        if not _are_bounded(self.exponents, LARGEST_EXPONENT):
            raise ValueError(f"exponents of steps are within +-{LARGEST_EXPONENT}")
        if not _are_bounded(self.scales, LARGEST_SCALE):
            raise ValueError(f"scales are within +-{LARGEST_SCALE}")

    def classes(self) -> NDArray[np.uint8]:
        """Return the class of every integer, (F, C, P)."""
        scales = self.scales
        classes = np.empty((len(scales.filters), len(scales.channels), len(scales.positions)), np.int32)
        self.fill_classes(classes)
        return classes.astype(np.uint8)

    def fill_classes(self, classes: Integers) -> None:
        """Set the class of every integer, (F, C, P)."""
        of_filter = self.scales.channels[:, None] + self.scales.positions
        np.add(self.scales.filters[:, None, None], of_filter, out=classes)
        np.clip(classes, 0, CLASSES - 1, out=classes)

    def used_classes(self) -> NDArray[np.int32]:
        """Return the classes that occur, in ascending order."""
        sums = np.zeros(1, np.int32)
        for table in (self.scales.filters, self.scales.channels, self.scales.positions):
            sums = np.unique(sums[:, None] + np.unique(table))
        return np.unique(sums.clip(0, CLASSES - 1))


@dataclass(frozen=True, slots=True)
class CodedLayer:
    """A layer's `integers`, int32 (F, C, P), and its tables; `sides` is the shape of a kernel."""

    integers: Integers
    tables: LayerTables
    sides: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = self.shape
        tables = (self.tables.exponents, self.tables.scales)
        sizes = {(len(table.filters), len(table.channels), len(table.positions)) for table in tables}
        if sizes != {shape.dimensions} or self.integers.shape != shape.dimensions:
            raise ValueError("the tables of a layer do not fit its integers")
        if self.tables.is_transformed and not shape.can_be_transformed:
            raise ValueError(f"kernels of {self.sides} cannot be transformed")
        if self.integers.dtype != np.int32:
            raise ValueError(f"integers are int32, not {self.integers.dtype}")
        if max(int(self.integers.max()), -int(self.integers.min())) > LARGEST_INTEGER:
            raise ValueError(f"integers are within +-{LARGEST_INTEGER}")

    @property
    def shape(self) -> LayerShape:
        """Return the layer's shape."""
        filters, channels, _ = self.integers.shape
        return LayerShape(filters, channels, self.sides)


@dataclass(frozen=True, slots=True)
class ClassedIntegers:
    """Integers to encode, int32 (n,), the class of each, uint8 (n,), and the number of integers in a lane."""

    integers: Integers
    classes: NDArray[np.uint8]
    lane_size: int


def _are_bounded(tables: CoordinateTables, limit: int) -> bool:
    """Return whether every table and every sum of a filter's and a channel's number is within +-`limit`."""
    filters, channels, positions = (
        table.astype(np.int64) for table in (tables.filters, tables.channels, tables.positions)
    )
    highest = filters.max() + channels.max()
    lowest = filters.min() + channels.min()
    largest = max(highest, -lowest, *(np.abs(table).max() for table in (filters, channels, positions)))
    return bool(largest <= limit)
