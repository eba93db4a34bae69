"""Encode and decode layers with NumPy alone, the lanes of many layers together."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nern_core.codec.distributions import COUNTED_LEVELS, CodingTables
from nern_core.codec.lane_groups import layer_groups
from nern_core.codec.layers import CLASSES, ClassedIntegers, Integers, WeightType
from nern_core.codec.packed_layer import PackedLayer
from nern_core.codec.reconstruction import weights_of
from nern_core.codec.single_lane import decode_lane, encode_lane
from nern_core.codec.vector_decoding import decode_lanes
from nern_core.codec.vector_encoding import encode_lanes

# Fewer lanes than this are decoded faster one after the other.
_FEWEST_LANES = 16
# Integers whose levels or weights are computed at once.
_PART = 1 << 16
# Integers decoded together if they can be where their weights will be. If not, they take up to a quarter of the memory
# of all weights, or 16 MiB.
_MOST_IN_PLACE, _FEWEST_ELSEWHERE, _BYTES_PER_INTEGER_ELSEWHERE = 1 << 25, 1 << 22, 16


def count_levels(part: ClassedIntegers, shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the levels of integers by class: (64, 256)."""
    counts = np.zeros(CLASSES * COUNTED_LEVELS, np.int64)
    for start in range(0, len(part.integers), _PART):
        classes = part.classes[start : start + _PART].astype(np.int32)
        shift = shifts[classes]
        symbols = part.integers[start : start + _PART] >> shift
        levels = np.where(shift > 0, symbols ^ symbols >> 63, np.abs(symbols))
        places = classes * COUNTED_LEVELS + np.minimum(levels, COUNTED_LEVELS - 1)
        counts += np.bincount(places, minlength=len(counts))
    return counts.reshape(CLASSES, COUNTED_LEVELS)


def encode(parts: Sequence[ClassedIntegers], coding: CodingTables) -> list[list[bytes]]:
    """Return the bytes of the lanes of each part."""
    groups = [layer_groups(part.integers, part.classes, part.lane_size) for part in parts]
    counts = [sum(len(group.integers) for group in of_part) for of_part in groups]
    together = [group for of_part in groups for group in of_part]
    if sum(counts) < _FEWEST_LANES:
        rows = (
            (row, classes) for group in together for row, classes in zip(group.integers, group.classes, strict=True)
        )
        lanes = [encode_lane(row.tolist(), classes.tolist(), coding) for row, classes in rows]
    else:
        lanes = encode_lanes(together, coding)
    ends = np.cumsum([0, *counts]).tolist()
    return [lanes[start:stop] for start, stop in pairwise(ends)]


def decode_integers(layers: Sequence[PackedLayer]) -> list[Integers]:
    """Return the integers of each layer, (F, C, P). Raises `NernError` (`bad_encoding`)."""
    found = [np.empty(layer.shape.dimensions, np.int32) for layer in layers]
    for batch in _batches(layers, _MOST_IN_PLACE):
        _decode([layers[index] for index in batch], [found[index] for index in batch])
    return found


def decode_weights(layers: Sequence[PackedLayer], weight_types: Sequence[WeightType]) -> list[NDArray[np.generic]]:
    """Return the weights of each layer, (F, C, P). Raises `NernError` (`bad_encoding`)."""
    found = [
        np.empty(layer.shape.dimensions, weight_type.storage)
        for layer, weight_type in zip(layers, weight_types, strict=True)
    ]
    most = _MOST_IN_PLACE
    if any(weights.dtype != np.float32 for weights in found):
        size = sum(weights.nbytes for weights in found)
        most = min(most, max(_FEWEST_ELSEWHERE, size // _BYTES_PER_INTEGER_ELSEWHERE))
    for batch in _batches(layers, most):
        integers = [
            found[index].view(np.int32)
            if found[index].dtype == np.float32
            else np.empty(layers[index].shape.dimensions, np.int32)
            for index in batch
        ]
        _decode([layers[index] for index in batch], integers)
        for index in batch:
            _replace(integers.pop(0), layers[index], weight_types[index], found[index])
    return found


def _batches(layers: Iterable[PackedLayer], most: int) -> Iterator[list[int]]:
    """Yield the indices of layers with up to `most` integers together, or of one larger layer."""
    batch: list[int] = []
    size = 0
    for index, layer in enumerate(layers):
        if batch and size + layer.shape.weights > most:
            yield batch
            batch, size = [], 0
        batch.append(index)
        size += layer.shape.weights
    if batch:
        yield batch


def _decode(layers: Sequence[PackedLayer], integers: Sequence[Integers]) -> None:
    """Set the integers of layers, (F, C, P)."""
    groups, lanes = [], []
    for layer, found in zip(layers, integers, strict=True):
        layer.tables.fill_classes(found)
        flat = found.reshape(-1)
        groups += layer_groups(flat, flat, layer.lane_size)
        bounds = layer.bounds().tolist()
        lanes += [memoryview(layer.stream)[start:stop] for start, stop in pairwise(bounds)]
    if len(lanes) >= _FEWEST_LANES:
        decode_lanes(groups, lanes, layers[0].coding)
        return
    rows = [row for group in groups for row in group.integers]
    for row, lane in zip(rows, lanes, strict=True):
        row[:] = decode_lane(bytes(lane), row.tolist(), layers[0].coding)


def _replace(integers: Integers, layer: PackedLayer, weight_type: WeightType, weights: NDArray[np.generic]) -> None:
    """Set the weights of integers, which may be in the same memory."""
    positions = layer.shape.positions
    rows, target = integers.reshape(-1, positions), weights.reshape(-1, positions)
    step = max(1, _PART // positions)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        target[part] = weights_of(rows[part], layer.tables, layer.shape, weight_type, start)
