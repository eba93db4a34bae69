"""A quantized layer: the integers in the file, and the weights that they decode to."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nern_core.container.step_grid import steps_of
from nern_core.representations.quantized.coordinate_scales import CoordinateScales, fit_scales
from nern_core.tensors.kernels import KernelLayer, assemble

_MOST_STEPS = 2.0**24


@dataclass(frozen=True, slots=True)
class QuantizedLayer:
    """A layer of F filters, C channels and kernels of P values, cut as in its `KernelLayer`.

    The weights are `integers`, int32 (F, C, P), times the steps of the `exponents`, int32 (F,), see `grid`. `scales`
    give the class that each integer is coded with.
    """

    integers: Tensor
    exponents: Tensor
    scales: CoordinateScales

    def weights(self, layer: KernelLayer) -> Tensor:
        """Return the layer's tensor, in its shape and dtype: one float64 product per weight, rounded once."""
        kernels = self.integers.double() * steps_of(self.exponents)[:, None, None]
        return assemble(kernels, layer).to(getattr(torch, layer.dtype)).contiguous()


def quantized_layer(integers: Tensor, exponents: Tensor, layer: KernelLayer) -> QuantizedLayer:
    """Combine integers int32 (F, C, P) and exponents int32 (F,), clamped to keep weights in the dtype's range."""
    # Rounding up the largest number of a dtype would make it infinite.
    most = (torch.finfo(getattr(torch, layer.dtype)).max / steps_of(exponents)).clamp(max=_MOST_STEPS).floor()
    bounds = most.to(torch.int32)[:, None, None]
    bounded = torch.minimum(torch.maximum(integers, -bounds), bounds)
    return QuantizedLayer(bounded, exponents, fit_scales(bounded))
