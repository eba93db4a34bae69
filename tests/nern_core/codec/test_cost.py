"""Bits and memory of the coder; `bench/lanes.py` measures its speed."""

import math
import tracemalloc

import numpy as np
import pytest

from nern_core.codec.backend import numpy_backend
from nern_core.codec.layers import CodedLayer, CoordinateTables, LayerTables, WeightType
from nern_core.codec.streams import decode_layers, open_layers, pack_layers


def normal_layer(scale: int) -> CodedLayer:
    """Return a matrix of integers of one class, which are rounded normal numbers."""
    rows, columns, zero = np.full(500, scale, np.int32), np.zeros(1000, np.int32), np.zeros(1, np.int32)
    tables = LayerTables(CoordinateTables(np.zeros_like(rows), columns, zero), CoordinateTables(rows, columns, zero))
    numbers = np.random.default_rng(0).normal(0, deviation(scale), (500, 1000, 1))
    return CodedLayer(np.rint(numbers).astype(np.int32), tables, (1,))


def deviation(scale: int) -> float:
    return 2 ** ((scale - 24) / 3) * math.sqrt(math.pi / 2)


def empirical_entropy(integers: np.ndarray) -> float:
    _, counts = np.unique(integers, return_counts=True)
    return -float(counts @ np.log2(counts / counts.sum()))


@pytest.mark.parametrize("scale", [18, 20, 22, 24, 27, 30, 33, 40, 50])
def test_streams_are_within_half_a_percent_of_the_entropy(scale: int) -> None:
    layer = normal_layer(scale)
    ideal = empirical_entropy(layer.integers)
    assert ideal >= 0.3 * layer.integers.size
    assert 8 * len(pack_layers([layer])[-1]) <= 1.005 * ideal


def test_almost_only_zeros_take_little_more_than_their_entropy() -> None:
    layer = normal_layer(24)
    generator = np.random.default_rng(1)
    signs = generator.choice(np.array([-1, 1], np.int32), layer.integers.shape)
    sparse = signs * (generator.random(layer.integers.shape) < 0.005)
    stream = pack_layers([CodedLayer(sparse, layer.tables, (1,))])[-1]
    assert 8 * len(stream) <= 0.003 * sparse.size + empirical_entropy(sparse)


def test_decoding_with_numpy_takes_less_than_a_third_more_memory_than_the_weights() -> None:
    layer = normal_layer(26)
    big = CodedLayer(np.tile(layer.integers, (6, 1, 1)), stacked(layer.tables, 6), (1,))
    streams = pack_layers([big])
    packed = open_layers(streams, [big.shape])
    tracemalloc.start()
    (weights,) = decode_layers(packed, [WeightType.FLOAT32], numpy_backend())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    slots = 8 * packed[0].coding.slots.size
    assert peak - slots < 1.3 * weights.nbytes


def stacked(tables: LayerTables, times: int) -> LayerTables:
    """Return the tables of a layer that has its filters several times."""
    exponents, scales = (
        CoordinateTables(np.tile(part.filters, times), part.channels, part.positions)
        for part in (tables.exponents, tables.scales)
    )
    return LayerTables(exponents, scales)
