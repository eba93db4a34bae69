"""The curvature of a layer whose inputs are unknown: that of typical inputs.

Neighbouring inputs of a kernel are similar, and inputs of all channels have a common part, because they are mostly
positive after an activation: errors of weights that add up matter more than those that cancel (SQuant, Guo et al.,
2022).
"""

from functools import lru_cache

import torch
from torch import Tensor

from nern_core.representations.quantized.curvature.input_moments import LARGEST_BLOCK
from nern_core.representations.quantized.curvature.layer_curvature import LayerCurvature, block_sizes
from nern_core.representations.quantized.kernel_frequencies import typical_spatial_moments
from nern_core.tensors.kernels import KernelLayer

# The squared mean of an input, relative to its variance: that of the positive part of normally distributed numbers.
_SQUARED_MEAN = 0.47


def prior_curvature(layer: KernelLayer) -> LayerCurvature:
    """Return the curvature of a layer with typical inputs; all outputs count the same."""
    kernel_shape = () if layer.tile is not None else tuple(layer.kernel_shape)
    values = layer.kernel_values if kernel_shape else 1
    sizes = block_sizes(layer.inputs, values, LARGEST_BLOCK)
    return LayerCurvature(
        moments=tuple(_typical_moments(size // values, kernel_shape) for size in sizes),
        outputs=torch.ones(layer.filters, dtype=torch.float64),
    )


@lru_cache(maxsize=32)
def _typical_moments(channels: int, kernel_shape: tuple[int, ...]) -> Tensor:
    """Return the moments of the inputs of some channels, float32 (1, n, n)."""
    independent = torch.kron(torch.eye(channels), typical_spatial_moments(kernel_shape))
    return (independent + _SQUARED_MEAN)[None]
