"""The curvature of a layer whose inputs are unknown: that of typical inputs.

Neighbouring inputs of a kernel are similar, and inputs of all channels have a common part, because they are mostly
positive after an activation: errors of weights that add up matter more than those that cancel (SQuant, Guo et al.,
2022).
"""

from functools import lru_cache

import torch
from torch import Tensor

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.curvature.input_moments import LARGEST_BLOCK
from nern_core.representations.quantized.curvature.layer_curvature import LayerCurvature, block_sizes
from nern_core.representations.quantized.error_feedback import FeedbackBlock, feedback_block
from nern_core.representations.quantized.kernel_frequencies import moments_of_frequencies, typical_spatial_moments
from nern_core.representations.quantized.layer_shape import shape_of

# The squared mean of an input, relative to its variance: that of the positive part of normally distributed numbers.
_SQUARED_MEAN = 0.47


def typical_curvature(layer: KernelLayer) -> LayerCurvature:
    """Return the curvature of a layer with typical inputs; all outputs count the same."""
    return LayerCurvature(
        moments=tuple(_moments(channels, shape_of(layer).sides) for channels in _channels_of_blocks(layer)),
        outputs=torch.ones(layer.filters, dtype=torch.float64),
    )


def typical_blocks(layer: KernelLayer, *, is_transformed: bool) -> tuple[FeedbackBlock, ...]:
    """Return the factorized moments of typical inputs, or of their frequencies."""
    return tuple(
        _block(channels, shape_of(layer).sides, is_transformed=is_transformed)
        for channels in _channels_of_blocks(layer)
    )


def _channels_of_blocks(layer: KernelLayer) -> list[int]:
    positions = shape_of(layer).positions
    return [size // positions for size in block_sizes(layer.inputs, positions, LARGEST_BLOCK)]


@lru_cache(maxsize=16)
def _moments(channels: int, sides: tuple[int, ...]) -> Tensor:
    """Return the moments of the inputs of some channels, float32 (1, n, n)."""
    independent = torch.kron(torch.eye(channels), typical_spatial_moments(sides))
    return (independent + _SQUARED_MEAN)[None]


@lru_cache(maxsize=16)
def _block(channels: int, sides: tuple[int, ...], *, is_transformed: bool) -> FeedbackBlock:
    moments = _moments(channels, sides)
    return feedback_block(moments_of_frequencies(moments, sides) if is_transformed else moments)
