"""Quantized layers as streams of bytes: the distributions, the tables of all layers, and one stream for each layer."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nern_core.codec.backend import Backend, backend_for
from nern_core.codec.distributions import (
    SHIFTS,
    coding_tables,
    fit_continuations,
    pack_distributions,
    unpack_distributions,
)
from nern_core.codec.lanes import join_lanes, lane_size
from nern_core.codec.layers import (
    CLASSES,
    MOST_POSITIONS,
    ClassedIntegers,
    CodedLayer,
    LayerShape,
    LayerTables,
    WeightType,
)
from nern_core.codec.packed_layer import PackedLayer
from nern_core.codec.reconstruction import require_finite
from nern_core.codec.table_stream import TABLE_KINDS, pack_tables, unpack_tables
from nern_core.contract.errors import NernError

# Streams in front of those of the layers: the distributions, and the tables of all layers.
STREAMS_BEFORE_LAYERS: Final = 2
_ENCODED_AT_ONCE: Final = 1 << 24
# Products of all transforms: always allowed, and for each byte of the streams. The former take seconds.
_PRODUCTS: Final = 1 << 31
_PRODUCTS_PER_BYTE: Final = 1 << 15


def pack_layers(layers: Sequence[CodedLayer], backend: Backend | None = None) -> list[bytes]:
    """Pack layers into streams: the distributions, the tables, and one stream for each layer.

    Raises `ValueError` for kernels that `open_layers` refuses.
    """
    if any(layer.shape.positions > MOST_POSITIONS for layer in layers):
        raise ValueError(f"kernels have at most {MOST_POSITIONS} values")
    backend = backend or backend_for(sum(layer.shape.weights for layer in layers))
    of_tables, tables = pack_tables([layer.tables for layer in layers], backend)
    counts = sum((backend.count_levels(_classed(layer), SHIFTS) for layer in layers), np.zeros((CLASSES, 1), np.int64))
    of_layers = [fit_continuations(row) for row in counts]
    coding = coding_tables(of_layers, SHIFTS)
    lanes = [of_layer for some in _batches(layers) for of_layer in backend.encode([*map(_classed, some)], coding)]
    return [pack_distributions([*of_tables, *of_layers]), tables, *map(join_lanes, lanes)]


def unpack_layers(
    streams: Sequence[bytes], shapes: Sequence[LayerShape], backend: Backend | None = None
) -> tuple[CodedLayer, ...]:
    """Undo `pack_layers` for layers of these shapes. Raises `NernError` (`bad_encoding`)."""
    packed = open_layers(streams, shapes, backend)
    found = (backend or _backend_of(packed)).decode_integers(packed)
    return tuple(
        CodedLayer(integers, layer.tables, layer.shape.sides) for integers, layer in zip(found, packed, strict=True)
    )


def open_layers(
    streams: Sequence[bytes], shapes: Sequence[LayerShape], backend: Backend | None = None
) -> tuple[PackedLayer, ...]:
    """Return the layers of `pack_layers`, with their tables decoded. Raises `NernError` (`bad_encoding`)."""
    if len(streams) != STREAMS_BEFORE_LAYERS + len(shapes):
        raise NernError("bad_encoding", "The .nern file is damaged: it does not have one stream per layer.")
    if any(shape.positions > MOST_POSITIONS for shape in shapes):
        raise NernError("bad_encoding", f"The .nern file is damaged: a kernel has more than {MOST_POSITIONS:,} values.")
    backend = backend or backend_for(sum(shape.weights for shape in shapes))
    distributions = unpack_distributions(streams[0], TABLE_KINDS + CLASSES)
    tables = unpack_tables(streams[1], shapes, distributions[:TABLE_KINDS], backend)
    _check_transforms(shapes, tables, sum(map(len, streams)))
    coding = coding_tables(distributions[TABLE_KINDS:], SHIFTS)
    return tuple(
        PackedLayer(shape, of_layer, stream, coding, lane_size(shape.positions))
        for shape, of_layer, stream in zip(shapes, tables, streams[STREAMS_BEFORE_LAYERS:], strict=True)
    )


def decode_layers(
    layers: Sequence[PackedLayer], weight_types: Sequence[WeightType], backend: Backend | None = None
) -> list[NDArray[np.generic]]:
    """Return the weights of layers, each (F, C, P) of its type. Raises `NernError` (`bad_encoding`)."""
    found = (backend or _backend_of(layers)).decode_weights(layers, weight_types)
    for layer, weights, weight_type in zip(layers, found, weight_types, strict=True):
        if layer.may_overflow(weight_type):
            require_finite(weights, weight_type)
    return found


def decode_kernel(layer: PackedLayer, filter_index: int, channel: int, weight_type: WeightType) -> NDArray[np.generic]:
    """Return the weights of one kernel, (P,), by decoding its lane up to there. Raises `NernError` (`bad_encoding`)."""
    weights = layer.kernel(filter_index, channel, weight_type)
    require_finite(weights, weight_type)
    return weights


def _backend_of(layers: Sequence[PackedLayer]) -> Backend:
    return backend_for(sum(layer.shape.weights for layer in layers))


def _check_transforms(shapes: Sequence[LayerShape], tables: Sequence[LayerTables], stream_bytes: int) -> None:
    """Raise `NernError` (`bad_encoding`) if transforms would take far longer than streams of this size justify."""
    products = sum(
        shape.products_of_transform for shape, of_layer in zip(shapes, tables, strict=True) if of_layer.is_transformed
    )
    if products > _PRODUCTS + _PRODUCTS_PER_BYTE * stream_bytes:
        raise NernError(
            "bad_encoding",
            f"The .nern file is damaged: its {stream_bytes:,} bytes of streams declare {products:,} products; "
            "encode again.",
        )


def _batches(layers: Sequence[CodedLayer]) -> Iterator[list[CodedLayer]]:
    """Yield layers of about `_ENCODED_AT_ONCE` integers together, so that not all classes are in memory at once."""
    batch: list[CodedLayer] = []
    for layer in layers:
        batch.append(layer)
        if sum(one.shape.weights for one in batch) >= _ENCODED_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _classed(layer: CodedLayer) -> ClassedIntegers:
    """Return the integers of a layer with their classes."""
    classes = layer.tables.classes().reshape(-1)
    return ClassedIntegers(np.ascontiguousarray(layer.integers).reshape(-1), classes, lane_size(layer.shape.positions))
