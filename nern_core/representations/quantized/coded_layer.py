"""A layer as stored in the file, from integers and exponents, and its weights as decoded."""

import numpy as np
import torch
from torch import Tensor

from nern_core.codec.layers import LARGEST_INTEGER, CodedLayer, CoordinateTables, LayerTables
from nern_core.container.step_grid import steps_of
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.coordinate_scales import CoordinateScales, fit_scales
from nern_core.representations.quantized.layer_shape import shape_of


def coded_layer(
    integers: Tensor, exponents: tuple[Tensor, Tensor, Tensor], layer: KernelLayer, *, is_transformed: bool
) -> CodedLayer:
    """Combine integers int32 (F, C, P) and the exponents of their steps by filter, channel and position.

    Integers are clamped so that the weights stay within the range of the layer's dtype.
    """
    # Rounding up the largest number of a dtype would make it infinite; a kernel of frequencies is a sum of them.
    largest = torch.finfo(getattr(torch, layer.dtype)).max / (layer.kernel_values if is_transformed else 1)
    bounded = _bounded(integers, exponents, largest)
    scales = fit_scales(bounded)
    return CodedLayer(
        integers=bounded.numpy(),
        tables=LayerTables(
            exponents=CoordinateTables(*(_array(table) for table in exponents)),
            scales=_tables(scales),
            is_transformed=is_transformed,
        ),
        sides=shape_of(layer).sides,
    )


def _bounded(integers: Tensor, exponents: tuple[Tensor, Tensor, Tensor], largest: float) -> Tensor:
    """Clamp integers (F, C, P) so that, times their steps, they are at most `largest`."""
    coarsest = float(steps_of(sum(table.max() for table in exponents).reshape(1)))  # type: ignore[union-attr] # a tensor
    # Almost all layers are far from any bound.
    if float(integers.abs().max()) <= min(LARGEST_INTEGER, largest / coarsest):
        return integers
    total = exponents[0][:, None, None] + exponents[1][:, None] + exponents[2]
    bounds = (largest / steps_of(total.flatten()).view(total.shape)).clamp(max=LARGEST_INTEGER).floor().to(torch.int32)
    return torch.minimum(torch.maximum(integers, -bounds), bounds)


def _tables(scales: CoordinateScales) -> CoordinateTables:
    return CoordinateTables(*(_array(table) for table in (scales.filters, scales.channels, scales.positions)))


def _array(table: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return table.to(torch.int32).numpy()
