"""The stream of all layers' small tables: exponents and scales.

A byte of flags for each layer comes first: bit 0 says that kernels are transformed, bits 1 to 6 which tables are not
all zero. Then one lane has the numbers of all layers: the mean of the filters' exponents and that of the filters'
scales, as differences from those of the layer before, and the tables that are not all zero. Filters' tables are coded
without their means. Numbers of each kind have their own distribution, without raw bits.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nern_core.codec.backend import Backend
from nern_core.codec.distributions import CodingTables, Continuations, coding_tables, fit_continuations
from nern_core.codec.layers import ClassedIntegers, CoordinateTables, Integers, LayerShape, LayerTables
from nern_core.codec.packed_layer import PackedLayer
from nern_core.contract.errors import NernError

# Means of exponents and of scales, then the exponents and the scales by filter, channel and position.
TABLE_KINDS: Final = 8
_KINDS_OF_MEANS = 2
_TRANSFORMED = 1
_RESERVED = 1 << 7
_NO_SHIFTS = np.zeros(TABLE_KINDS, np.int64)


def pack_tables(layers: Sequence[LayerTables], backend: Backend) -> tuple[list[Continuations], bytes]:
    """Return the distributions of all kinds, and the stream of the tables."""
    flags = bytearray()
    values: list[NDArray[np.integer]] = []
    kinds: list[NDArray[np.integer]] = []
    means = [0, 0]
    for layer in layers:
        previous, means = means, [_rounded_mean(table.filters) for table in (layer.exponents, layer.scales)]
        tables = _without_means(layer, means)
        exist = [bool(table.any()) for table in tables]
        flags.append(_TRANSFORMED * layer.is_transformed | sum(2 << place for place in range(6) if exist[place]))
        values.append(np.array(means, np.int64) - np.array(previous, np.int64))
        kinds.append(np.arange(_KINDS_OF_MEANS))
        for place, table in enumerate(tables):
            if exist[place]:
                values.append(table)
                kinds.append(np.full(len(table), _KINDS_OF_MEANS + place))
    if not layers:
        return [np.empty(0, np.uint8)] * TABLE_KINDS, b""
    numbers = np.concatenate(values).astype(np.int32)
    part = ClassedIntegers(numbers, np.concatenate(kinds).astype(np.uint8), len(numbers))
    counts = backend.count_levels(part, _NO_SHIFTS)
    distributions = [fit_continuations(row) for row in counts[:TABLE_KINDS]]
    ((lane,),) = backend.encode([part], coding_tables(distributions, _NO_SHIFTS))
    return distributions, bytes(flags) + lane


def unpack_tables(
    stream: bytes, shapes: Sequence[LayerShape], distributions: Sequence[Continuations], backend: Backend
) -> list[LayerTables]:
    """Undo `pack_tables` for layers of these shapes. Raises `NernError` (`bad_encoding`)."""
    flags = stream[: len(shapes)]
    if len(flags) < len(shapes) or any(byte >= _RESERVED for byte in flags) or (stream and not shapes):
        raise NernError("bad_encoding", "The .nern file is damaged: the flags of its layers are invalid.")
    if not shapes:
        return []
    kinds = np.concatenate([_kinds(byte, shape) for byte, shape in zip(flags, shapes, strict=True)])
    coding = coding_tables(distributions, _NO_SHIFTS)
    numbers = _decode(stream[len(shapes) :], kinds, coding, backend)
    layers, start = [], 0
    means = np.zeros(2, np.int64)
    for byte, shape in zip(flags, shapes, strict=True):
        means += numbers[start : start + _KINDS_OF_MEANS]
        start += _KINDS_OF_MEANS
        tables = []
        for place, size in enumerate(_sizes(shape)):
            table = np.zeros(size, np.int64)
            if byte & 2 << place:
                table += numbers[start : start + size]
                start += size
            tables.append(table)
        layers.append(_layer_tables(tables, means, is_transformed=bool(byte & _TRANSFORMED), shape=shape))
    return layers


def _decode(lane: bytes, kinds: Integers, coding: CodingTables, backend: Backend) -> Integers:
    """Decode a lane of numbers of these kinds, as a layer whose filters' scales are the kinds."""
    zero = np.zeros(1, np.int32)
    exponents, scales = (CoordinateTables(filters, zero, zero) for filters in (np.zeros_like(kinds), kinds))
    shape = LayerShape(len(kinds), 1, (1,))
    packed = PackedLayer(shape, LayerTables(exponents, scales), lane, coding, len(kinds))
    return backend.decode_integers([packed])[0].reshape(-1)


def _layer_tables(
    tables: Sequence[NDArray[np.int64]],
    means: NDArray[np.int64],
    *,
    is_transformed: bool,
    shape: LayerShape,
) -> LayerTables:
    """Return the tables of a layer from those in the stream."""
    tables[0][:] += means[0]
    tables[3][:] += means[1]
    if max(int(np.abs(table).max()) for table in tables) > np.iinfo(np.int32).max:
        raise NernError("bad_encoding", "The .nern file is damaged: a table of a layer is out of range.")
    filters, channels, positions, *of_scales = (table.astype(np.int32) for table in tables)
    if is_transformed and not shape.can_be_transformed:
        raise NernError("bad_encoding", "The .nern file is damaged: a layer of this shape cannot be transformed.")
    try:
        return LayerTables(CoordinateTables(filters, channels, positions), CoordinateTables(*of_scales), is_transformed)
    except ValueError as error:
        raise NernError("bad_encoding", "The .nern file is damaged: a table of a layer is out of range.") from error


def _without_means(layer: LayerTables, means: Sequence[int]) -> list[Integers]:
    """Return the six tables of a layer; the filters' without their means."""
    return [
        part
        for table, mean in zip((layer.exponents, layer.scales), means, strict=True)
        for part in (table.filters - mean, table.channels, table.positions)
    ]


def _kinds(flags: int, shape: LayerShape) -> Integers:
    """Return the kind of each number of a layer."""
    sizes = [size if flags & 2 << place else 0 for place, size in enumerate(_sizes(shape))]
    return np.repeat(np.arange(TABLE_KINDS, dtype=np.int32), [1] * _KINDS_OF_MEANS + sizes)


def _sizes(shape: LayerShape) -> tuple[int, ...]:
    """Return the sizes of a layer's tables."""
    return shape.dimensions * 2


def _rounded_mean(table: Integers) -> int:
    return round(float(table.mean()))
