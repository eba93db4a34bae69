import numpy as np
import pytest
import torch

from nern_core.codec.layers import CoordinateTables, LayerShape, LayerTables, WeightType
from nern_core.codec.reconstruction import inverse_transform, round_weights, weights_of
from nern_core.codec.steps import step_of


def table(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def tables(exponents: CoordinateTables, *, is_transformed: bool = False) -> LayerTables:
    zeros = CoordinateTables(
        *(np.zeros_like(part) for part in (exponents.filters, exponents.channels, exponents.positions))
    )
    return LayerTables(exponents, zeros, is_transformed)


def test_a_weight_is_an_integer_times_the_steps_of_its_filter_channel_and_position() -> None:
    layer = tables(CoordinateTables(table(-8, 0), table(0, 16, 3), table(0, 8)))
    integers = np.arange(12, dtype=np.int32).reshape(6, 2)
    weights = weights_of(integers, layer, LayerShape(2, 3, (2,)), WeightType.FLOAT64)
    expected = integers.reshape(2, 3, 2) * np.array([0.5, 1.0])[:, None, None] * np.array([1.0, 2.0])
    expected *= np.array([1.0, 4.0, step_of(3)])[:, None]
    np.testing.assert_allclose(weights.reshape(2, 3, 2).astype(np.float64), expected, rtol=1e-7)


def test_the_product_with_a_positions_step_is_rounded_to_float32_also_for_float64_weights() -> None:
    layer = tables(CoordinateTables(table(1), table(0), table(3)))
    weights = weights_of(np.array([[5]], np.int32), layer, LayerShape(1, 1, (1,)), WeightType.FLOAT64)
    assert float(weights[0, 0]) == float(np.float32(5 * step_of(3))) * step_of(1)


def test_kernels_in_the_middle_of_a_layer_have_the_exponents_of_their_places() -> None:
    layer = tables(CoordinateTables(table(0, 8), table(0, 0, 16), table(0)))
    ones = np.ones((3, 1), np.int32)
    assert weights_of(ones, layer, LayerShape(2, 3, (1,)), WeightType.FLOAT32, 2).tolist() == [[4.0], [2.0], [2.0]]


@pytest.mark.parametrize("sides", [(1,), (2,), (3, 3), (5, 5), (7, 7), (1, 3), (2, 3, 5), (3, 1, 4)])
def test_the_transform_is_the_exact_inverse_cosine_transform_within_1e_6(sides: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal((10, int(np.prod(sides)))).astype(np.float32)
    expected = values.astype(np.float64).reshape(-1, *sides)
    for axis, side in enumerate(sides, 1):
        places, frequencies = np.mgrid[:side, :side]
        basis = np.sqrt(2 / side) * np.cos(np.pi * (2 * places + 1) * frequencies / (2 * side))
        basis[:, 0] = np.sqrt(1 / side)
        expected = np.moveaxis(np.tensordot(basis, expected, (1, axis)), 0, axis)
    found = inverse_transform(values, sides)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-6)


def test_every_axis_is_summed_in_order_and_rounded_to_float32() -> None:
    """The definition, in the plainest form: the last axis first, frequencies ascending."""
    from nern_core.codec.cosines import cosine_basis

    values = np.random.default_rng(1).standard_normal((1, 6)).astype(np.float32)
    rows = values.reshape(2, 3)
    for axis in (1, 0):
        basis = cosine_basis(rows.shape[axis])
        target = np.empty_like(rows)
        for place in np.ndindex(*rows.shape):
            total = None
            for k in range(rows.shape[axis]):
                source = list(place)
                source[axis] = k
                product = float(basis[k, place[axis]]) * float(rows[tuple(source)])
                total = product if total is None else total + product
            target[place] = np.float32(total)
        rows = target
    assert inverse_transform(values, (2, 3)).tobytes() == rows.tobytes()


@pytest.mark.parametrize("weight_type", [WeightType.FLOAT16, WeightType.BFLOAT16, WeightType.FLOAT32])
def test_weights_are_rounded_like_those_of_torch(weight_type: WeightType) -> None:
    generator = np.random.default_rng(2)
    weights = generator.standard_normal(10_000) * 2.0 ** generator.integers(-30, 10, 10_000)
    weights[:6] = [0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 1 + 3 * 2**-11]
    expected = torch.from_numpy(weights).float().to(getattr(torch, weight_type.value))
    found = round_weights(weights, weight_type)
    bits = torch.int32 if weight_type is WeightType.FLOAT32 else torch.int16
    assert found.tobytes() == expected.view(bits).numpy().tobytes()
