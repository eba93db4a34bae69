"""Weights from integers, with NumPy alone: the definition of a layer's weights.

Every operation is exact or rounds once, in the same way on every machine: products of float32 in float64 are exact, so
a fused multiply-add has the same result as two instructions, and sums are in a fixed order.
"""

import numpy as np
from numpy.typing import NDArray

from nern_core.codec.cosines import cosine_basis
from nern_core.codec.layers import Integers, LayerShape, LayerTables, WeightType
from nern_core.codec.steps import steps_of
from nern_core.contract.errors import NernError

_BFLOAT16_INFINITY = 0x7F80


def weights_of(
    integers: Integers, tables: LayerTables, shape: LayerShape, weight_type: WeightType, first_kernel: int = 0
) -> NDArray[np.generic]:
    """Return the weights of consecutive kernels, (kernels, P), from their integers (kernels, P).

    `first_kernel` is the index of the first one in the layer, in raster order.
    """
    kernels = np.arange(first_kernel, first_kernel + len(integers))
    filters, channels = np.divmod(kernels, shape.channels)
    steps = steps_of(tables.exponents.filters[filters] + tables.exponents.channels[channels])
    # `require_finite` finds weights that are out of range.
    with np.errstate(over="ignore", invalid="ignore"):
        values = (integers * steps_of(tables.exponents.positions)).astype(np.float32)
        if tables.is_transformed:
            values = inverse_transform(values, shape.sides)
        return round_weights(values * steps[:, None], weight_type)


def inverse_transform(frequencies: NDArray[np.float32], sides: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the kernels, (kernels, P), of their frequencies: an inverse DCT-II along each axis, the last one first."""
    values = frequencies.reshape(-1, *sides)
    for axis in range(len(sides), 0, -1):
        if sides[axis - 1] == 1:
            continue
        basis = cosine_basis(sides[axis - 1]).astype(np.float64)
        rows = np.moveaxis(values, axis, 0)
        sums = np.multiply.outer(basis[0], rows[0], dtype=np.float64)
        for row, place in zip(rows[1:], basis[1:], strict=True):
            sums += np.multiply.outer(place, row, dtype=np.float64)
        values = np.moveaxis(sums.astype(np.float32), 0, axis)
    return np.ascontiguousarray(values).reshape(frequencies.shape)


def round_weights(weights: NDArray[np.float64], weight_type: WeightType) -> NDArray[np.generic]:
    """Round weights to their type: float64 stays, all others are rounded to float32 first."""
    if weight_type is WeightType.FLOAT64:
        return weights
    singles = weights.astype(np.float32)
    if weight_type is not WeightType.BFLOAT16:
        return singles.astype(weight_type.storage, copy=False)
    bits = singles.view(np.uint32)
    # Adding just under half of the last place, and one more if it is odd, rounds to nearest even.
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def require_finite(weights: NDArray[np.generic], weight_type: WeightType) -> None:
    """Raise `NernError` (`bad_encoding`) if a weight is infinite or not a number."""
    if weight_type is WeightType.BFLOAT16:
        is_finite = bool(np.all(weights.view(np.uint16) & _BFLOAT16_INFINITY != _BFLOAT16_INFINITY))
    else:
        is_finite = bool(np.isfinite(weights).all())
    if not is_finite:
        raise NernError("bad_encoding", "The .nern file is damaged: its weights are out of range.")
