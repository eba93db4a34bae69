"""Quantized layers as streams of bytes: the distributions, the tables of each layer, and the integers of each layer."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nern_core.container.step_grid import LARGEST_EXPONENT
from nern_core.contract.errors import NernError
from nern_core.representations.quantized.coordinate_scales import CLASSES, CoordinateScales
from nern_core.representations.quantized.integers import (
    LARGEST_MAGNITUDE,
    Classes,
    Integers,
    Stops,
    fit_stops,
    pack_integers,
    unpack_integers,
)
from nern_core.representations.quantized.layer import QuantizedLayer
from nern_core.tensors.kernels import KernelLayer

# The tables of a layer have their own classes: means, exponents, and scales by filter, by channel and by position.
_TABLE_CLASSES = 5
# Streams in front of those of the layers: the distributions, and the tables of all layers.
STREAMS_BEFORE_LAYERS = 2


def fit_distributions(integers: Iterable[Tensor], classes: Iterable[Tensor]) -> list[Stops]:
    """Fit the distribution of each class to the integers (F, C, P) and classes (F, C, P) of all layers."""
    size = LARGEST_MAGNITUDE + 1
    counts = [
        (members.long() * size + values.abs().clamp(max=LARGEST_MAGNITUDE)).flatten().bincount(minlength=CLASSES * size)
        for values, members in zip(integers, classes, strict=True)
    ]
    rows = torch.stack(counts).sum(dim=0).double().view(CLASSES, size)
    return [fit_stops(row) for row in rows.cpu().numpy()]


def pack_layers(layers: Sequence[QuantizedLayer]) -> list[bytes]:
    """Pack into streams: the distributions, the tables, and one stream per layer."""
    tables = [_tables(layer) for layer in layers]
    values = np.concatenate([np.concatenate(parts) for parts in tables]).astype(np.int32)
    classes = np.concatenate([_table_classes([len(part) for part in parts]) for parts in tables])
    of_tables = [_fit(values[classes == index]) for index in range(_TABLE_CLASSES)]
    of_weights = [layer.scales.classes() for layer in layers]
    of_layers = fit_distributions((layer.integers for layer in layers), of_weights)
    return [
        b"".join(_stops_bytes([*of_tables, *of_layers])),
        pack_integers(values, classes, of_tables),
        *(
            pack_integers(layer.integers.flatten().numpy(), members.flatten().numpy(), of_layers)
            for layer, members in zip(layers, of_weights, strict=True)
        ),
    ]


def unpack_layers(streams: Sequence[bytes], layers: Sequence[KernelLayer]) -> tuple[QuantizedLayer, ...]:
    """Undo `pack_layers`. Raises `NernError` (`bad_encoding`) for streams that do not fit the layers."""
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


def _unpack_layer(
    stream: bytes, tables: Sequence[Integers], stops: Sequence[Stops], layer: KernelLayer
) -> QuantizedLayer:
    means, exponents, filters, channels, positions = (torch.from_numpy(table.copy()) for table in tables)
    exponents = exponents + means[0]
    if bool((exponents.abs() > LARGEST_EXPONENT).any()):
        raise NernError("bad_encoding", "The .nern file is damaged: a step of its integers is out of range.")
    scales = CoordinateScales(filters + means[1], channels, positions)
    classes = scales.classes()
    integers = unpack_integers(stream, classes.flatten().numpy(), stops)
    return QuantizedLayer(torch.from_numpy(integers).view(classes.shape), exponents, scales)


def _tables(layer: QuantizedLayer) -> list[NDArray[np.int32]]:
    """Return all tables of a layer; the means of the first two tables are coded separately."""
    means = [_rounded_mean(table) for table in (layer.exponents, layer.scales.filters)]
    return [
        np.array(means, np.int32),
        (layer.exponents - means[0]).numpy(),
        (layer.scales.filters - means[1]).numpy(),
        layer.scales.channels.numpy(),
        layer.scales.positions.numpy(),
    ]


def _table_sizes(layer: KernelLayer) -> list[int]:
    return [2, layer.filters, layer.filters, layer.channels, layer.kernel_values]


def _table_classes(sizes: Sequence[int]) -> Classes:
    return np.repeat(np.arange(_TABLE_CLASSES, dtype=np.uint8), sizes)


def _rounded_mean(table: Tensor) -> int:
    return round(float(table.double().mean()))


def _fit(values: Integers) -> Stops:
    magnitudes = np.minimum(np.abs(values), LARGEST_MAGNITUDE)
    return fit_stops(np.bincount(magnitudes, minlength=LARGEST_MAGNITUDE + 1).astype(np.float64))


def _stops_bytes(stops: Sequence[Stops]) -> Iterator[bytes]:
    for row in stops:
        yield bytes([len(row)])
        yield row.tobytes()


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
