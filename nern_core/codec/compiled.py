"""Encode and decode layers by compiled loops, with a thread for each processor."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nern_core.codec import compiled_encoding
from nern_core.codec.compiled_decoding import LANES_TOGETHER, Coding, Source, decode_lanes
from nern_core.codec.compiled_weights import Steps, set_halves, set_weights
from nern_core.codec.cosines import cosine_basis
from nern_core.codec.distributions import CodingTables
from nern_core.codec.lanes import damaged_lane
from nern_core.codec.layers import ClassedIntegers, Integers, WeightType
from nern_core.codec.packed_layer import PackedLayer
from nern_core.codec.steps import steps_of

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def count_levels(part: ClassedIntegers, shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the levels of integers by class: (64, 256)."""
    counts: NDArray[np.int64] = compiled_encoding.count_levels(part.integers, part.classes, shifts)
    return counts


def encode(parts: Sequence[ClassedIntegers], coding: CodingTables) -> list[list[bytes]]:
    """Return the bytes of the lanes of each part."""

    def encode_one(task: tuple[ClassedIntegers, int]) -> bytes:
        part, start = task
        lane = slice(start, start + part.lane_size)
        data = compiled_encoding.encode_lane(
            part.integers[lane],
            part.classes[lane],
            coding.shifts,
            coding.levels,
            coding.frequencies,
            coding.starts,
        )
        encoded: bytes = data.tobytes()
        return encoded

    starts = [range(0, len(part.integers), part.lane_size) for part in parts]
    tasks = [(part, start) for part, of_part in zip(parts, starts, strict=True) for start in of_part]
    lanes = iter(_in_threads(encode_one, tasks))
    return [[next(lanes) for _ in of_part] for of_part in starts]


def decode_integers(layers: Sequence[PackedLayer]) -> list[Integers]:
    """Return the integers of each layer, (F, C, P). Raises `NernError` (`bad_encoding`)."""
    found = [np.empty(layer.shape.dimensions, np.int32) for layer in layers]
    targets = [_Target(layer, array) for layer, array in zip(layers, found, strict=True)]
    _in_threads(_decode, [(target, first) for target in targets for first in target.first_lanes()])
    return found


def decode_weights(layers: Sequence[PackedLayer], weight_types: Sequence[WeightType]) -> list[NDArray[np.generic]]:
    """Return the weights of each layer, (F, C, P). Raises `NernError` (`bad_encoding`)."""
    found = [
        np.empty(layer.shape.dimensions, weight_type.storage)
        for layer, weight_type in zip(layers, weight_types, strict=True)
    ]
    targets = [_WeightTarget(*parts) for parts in zip(layers, found, weight_types, strict=True)]
    _in_threads(_decode_weights, [(target, first) for target in targets for first in target.first_lanes()])
    return found


class _Target:
    """A layer with the arguments for compiled loops, and an array for its integers or weights."""

    def __init__(self, layer: PackedLayer, array: NDArray[np.generic]) -> None:
        self.source, self.coding = _source(layer), _coding(layer)
        self.flat = array.reshape(-1)
        self.lanes = layer.lanes

    def first_lanes(self) -> range:
        """Return the first one of the lanes of each task."""
        return range(0, self.lanes, LANES_TOGETHER)

    def part(self, first: int) -> slice:
        """Return the place of some lanes in the layer."""
        return slice(first * self.source.lane_size, (first + LANES_TOGETHER) * self.source.lane_size)


class _WeightTarget(_Target):
    """The same for weights of a type."""

    def __init__(self, layer: PackedLayer, array: NDArray[np.generic], weight_type: WeightType) -> None:
        super().__init__(layer, array)
        self.steps, self.weight_type = _steps(layer), weight_type


def _decode(task: tuple[_Target, int]) -> None:
    target, first = task
    _decode_lanes(target, first, target.flat[target.part(first)])


def _decode_weights(task: tuple[_WeightTarget, int]) -> None:
    target, first = task
    part = target.part(first)
    out = target.flat[part]
    # Integers are decoded to where their weights will be, if they take the same memory.
    integers = out.view(np.int32) if target.weight_type is WeightType.FLOAT32 else np.empty(len(out), np.int32)
    _decode_lanes(target, first, integers)
    kernel = part.start // len(target.steps.of_positions)
    if target.weight_type in {WeightType.FLOAT16, WeightType.BFLOAT16}:
        set_halves(integers, kernel, target.steps, target.weight_type is WeightType.BFLOAT16, out.view(np.uint16))
    else:
        set_weights(integers, kernel, target.steps, out)


def _decode_lanes(target: _Target, first: int, integers: NDArray[np.generic]) -> None:
    count = min(LANES_TOGETHER, target.lanes - first)
    if not decode_lanes(first, count, target.source, target.coding, integers):
        raise damaged_lane()


def _source(layer: PackedLayer) -> Source:
    return Source(np.frombuffer(layer.stream, np.uint8), layer.bounds(), layer.lane_size, layer.shape.weights)


def _coding(layer: PackedLayer) -> Coding:
    scales, coding = layer.tables.scales, layer.coding
    return Coding(
        _table(scales.filters),
        _table(scales.channels),
        _table(scales.positions),
        coding.slots.reshape(-1),
        coding.shifts.astype(np.int32),
        coding.levels.astype(np.int32),
    )


def _steps(layer: PackedLayer) -> Steps:
    exponents = layer.tables.exponents
    least = int(exponents.filters.min()) + int(exponents.channels.min())
    most = int(exponents.filters.max()) + int(exponents.channels.max())
    sides = layer.shape.sides if layer.tables.is_transformed else ()
    first, second, third = (1,) * (3 - len(sides)) + sides
    return Steps(
        steps_of(exponents.positions),
        steps_of(np.arange(least, most + 1, dtype=np.int32)),
        least,
        _table(exponents.filters),
        _table(exponents.channels),
        layer.tables.is_transformed,
        (first, second, third),
        (_basis(first), _basis(second), _basis(third)),
    )


def _table(table: Integers) -> Integers:
    """Return a copy, because numba compiles its loops again for a table that is read-only or has gaps."""
    return np.array(table, np.int32)


def _basis(side: int) -> NDArray[np.float64]:
    return cosine_basis(side).astype(np.float64)


def _in_threads(work: Callable[[_Task], _Result], tasks: Iterable[_Task]) -> list[_Result]:
    """Return the results of all tasks; compiled loops run at the same time in several threads."""
    with ThreadPoolExecutor(_processors()) as threads:
        return list(threads.map(work, tasks))


def _processors() -> int:
    """Return the number of processors that this process may use, where the system says it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
