"""One layer as integers: what stands in the file, and the weights that it decodes to."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nern_core.kernels import KernelLayer, assemble
from nern_core.quantized.coordinate_scales import CoordinateScales, fit_scales
from nern_core.quantized.grid import steps_of

_MOST_STEPS = 2.0**24


@dataclass(frozen=True, slots=True)
class QuantizedLayer:
    """A layer of F filters, C channels and kernels of P values, cut as its `KernelLayer` says.

    `integers` int32 (F, C, P) times the steps of the `exponents` int32 (F,), see `grid`, are the weights; `scales`
    tell the class that each integer is coded in.
    """

    integers: Tensor
    exponents: Tensor
    scales: CoordinateScales

    def weights(self, layer: KernelLayer) -> Tensor:
        """The tensor of the layer, in its shape and dtype: one product in float64 for each weight, rounded once."""
        kernels = self.integers.double() * steps_of(self.exponents)[:, None, None]
        return assemble(kernels, layer).to(getattr(torch, layer.dtype)).contiguous()


def quantized_layer(integers: Tensor, exponents: Tensor, layer: KernelLayer) -> QuantizedLayer:
    """Put integers int32 (F, C, P) and exponents int32 (F,) together; no weight leaves the range of its dtype."""
    # Rounding up the largest number of a dtype would make it infinite.
    most = (torch.finfo(getattr(torch, layer.dtype)).max / steps_of(exponents)).clamp(max=_MOST_STEPS).floor()
    bounds = most.to(torch.int32)[:, None, None]
    bounded = torch.minimum(torch.maximum(integers, -bounds), bounds)
    return QuantizedLayer(bounded, exponents, fit_scales(bounded))
