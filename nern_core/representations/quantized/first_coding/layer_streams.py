"""Quantized layers from streams of bytes: the distributions, the tables of each layer, the integers of each layer."""

from collections.abc import Sequence

import numpy as np

from nern_core.codec.layers import CLASSES, CodedLayer, CoordinateTables, LayerTables
from nern_core.container.step_grid import LARGEST_EXPONENT
from nern_core.contract.errors import NernError
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.first_coding.integers import Classes, Integers, Stops, unpack_integers

# The tables of a layer have their own classes: means, exponents, and scales by filter, by channel and by position.
_TABLE_CLASSES = 5
# Streams in front of those of the layers: the distributions, and the tables of all layers.
STREAMS_BEFORE_LAYERS = 2


def unpack_first_coding(streams: Sequence[bytes], layers: Sequence[KernelLayer]) -> tuple[CodedLayer, ...]:
    """Unpack the streams of layers. Raises `NernError` (`bad_encoding`) for streams that do not fit the layers."""
    if len(streams) != STREAMS_BEFORE_LAYERS + len(layers):
        raise NernError("bad_encoding", "The .nern file is damaged: it does not have one stream per layer.")
    stops = _read_stops(streams[0])
    sizes = [_table_sizes(layer) for layer in layers]
    classes = np.concatenate([_table_classes(size) for size in sizes])
    values = unpack_integers(streams[1], classes, stops[:_TABLE_CLASSES])
    parts = np.split(values, np.cumsum([sum(size) for size in sizes])[:-1])
    return tuple(
        _unpack_layer(stream, np.split(part, np.cumsum(size)[:-1]), stops[_TABLE_CLASSES:], layer)
        for stream, part, size, layer in zip(streams[STREAMS_BEFORE_LAYERS:], parts, sizes, layers, strict=True)
    )


def _unpack_layer(stream: bytes, tables: Sequence[Integers], stops: Sequence[Stops], layer: KernelLayer) -> CodedLayer:
    means, exponents, filters, channels, positions = tables
    exponents = exponents + means[0]
    if (np.abs(exponents) > LARGEST_EXPONENT).any():
        raise NernError("bad_encoding", "The .nern file is damaged: a step of its integers is out of range.")
    try:
        coordinates = LayerTables(
            exponents=CoordinateTables(exponents, np.zeros_like(channels), np.zeros_like(positions)),
            scales=CoordinateTables(filters + means[1], channels, positions),
        )
        classes = coordinates.classes()
        integers = unpack_integers(stream, classes.flatten(), stops)
        return CodedLayer(integers.reshape(classes.shape), coordinates, layer.kernel_shape)
    except ValueError as error:
        raise NernError("bad_encoding", "The .nern file is damaged: the tables of its layers are invalid.") from error


def _table_sizes(layer: KernelLayer) -> list[int]:
    return [2, layer.filters, layer.filters, layer.channels, layer.kernel_values]


def _table_classes(sizes: Sequence[int]) -> Classes:
    return np.repeat(np.arange(_TABLE_CLASSES, dtype=np.uint8), sizes)


def _read_stops(stream: bytes) -> list[Stops]:
    stops, start = [], 0
    for _ in range(_TABLE_CLASSES + CLASSES):
        length = stream[start] if start < len(stream) else 0
        row = np.frombuffer(stream[start + 1 : start + 1 + length], np.uint8)
        if start >= len(stream) or len(row) != length or not row.all():
            raise NernError("bad_encoding", "The .nern file is damaged: its distributions are cut short.")
        stops.append(row)
        start += 1 + length
    if start != len(stream):
        raise NernError("bad_encoding", "The .nern file is damaged: its distributions are too long.")
    return stops
