"""Layers of random integers for tests of the codec."""

import numpy as np

from nern_core.codec.layers import CodedLayer, CoordinateTables, LayerTables


def random_layer(
    filters: int, channels: int, sides: tuple[int, ...], *, scale: int = 24, is_transformed: bool = False, seed: int = 0
) -> CodedLayer:
    """Return a layer with integers of a Laplace distribution, whose scales vary around a class in all coordinates."""
    generator = np.random.default_rng(seed)

    def table(middle: int, spread: int, size: int) -> np.ndarray:
        return generator.integers(middle - spread, middle + spread + 1, size).astype(np.int32)

    positions = int(np.prod(sides))
    exponents = CoordinateTables(table(-60, 6, filters), table(0, 2, channels), table(0, 3, positions))
    scales = CoordinateTables(table(scale, 4, filters), table(0, 2, channels), table(0, 2, positions))
    tables = LayerTables(exponents, scales, is_transformed)
    magnitudes = 2.0 ** ((tables.classes() - 24.0) / 3)
    return CodedLayer(np.rint(generator.laplace(0, magnitudes)).astype(np.int32), tables, sides)


def layer_of(integers: list[int], *, scale: int = 24) -> CodedLayer:
    """Return a matrix of one row with these integers and no steps other than 1."""
    width, zero = np.zeros(len(integers), np.int32), np.zeros(1, np.int32)
    tables = LayerTables(
        CoordinateTables(zero, width, zero), CoordinateTables(np.array([scale], np.int32), width, zero)
    )
    return CodedLayer(np.array(integers, np.int32).reshape(1, -1, 1), tables, (1,))


def are_equal(first: CodedLayer, second: CodedLayer) -> bool:
    """Return whether two layers have the same integers and tables."""
    tables = [
        [
            part.tolist()
            for of_layer in (layer.tables.exponents, layer.tables.scales)
            for part in (of_layer.filters, of_layer.channels, of_layer.positions)
        ]
        for layer in (first, second)
    ]
    return (
        tables[0] == tables[1]
        and first.tables.is_transformed == second.tables.is_transformed
        and np.array_equal(first.integers, second.integers)
    )
