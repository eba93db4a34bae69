"""Kernels as frequencies: an orthonormal separable cosine transform (DCT-II) of the spatial axes of a kernel.

Kernels of trained networks are smooth, and their inputs are smoother still, so that most of the energy is in few low
frequencies (Young et al., 2021). In this basis, steps can depend on the frequency.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.layer_shape import shape_of

# Of neighbouring inputs along an axis of a kernel.
_CORRELATION = 0.8
# Of all axes. A decoder limits the products of a transform, which are as many for each weight.
_LARGEST_SUM_OF_SIDES = 128


def frequencies_of(kernels: Tensor, kernel_shape: Sequence[int]) -> Tensor:
    """Transform kernels (..., P) into frequencies, in the same layout. Differentiable."""
    return kernels @ _basis(tuple(kernel_shape)).to(kernels).T


def kernels_of(frequencies: Tensor, kernel_shape: Sequence[int]) -> Tensor:
    """Transform frequencies (..., P) back into kernels. Differentiable."""
    return frequencies @ _basis(tuple(kernel_shape)).to(frequencies)


def moments_of_frequencies(moments: Tensor, kernel_shape: Sequence[int]) -> Tensor:
    """Transform second moments (G, n, n) of inputs in whole kernels."""
    basis = _basis(tuple(kernel_shape)).to(moments)
    groups, size, _ = moments.shape
    values = len(basis)
    split = moments.reshape(groups, size // values, values, size // values, values)
    rotated = torch.einsum("kp,gapbq,lq->gakbl", basis, split, basis)
    return rotated.reshape(groups, size, size)


def gains_from_frequencies(layer: KernelLayer, tensor: Tensor) -> bool:
    """Return True if the energy of a layer's kernels is spread less evenly over frequencies than places.

    Kernels without axes, and those with axes that are too long, never gain.
    The bits that a basis saves are half the logarithm of the ratio of the arithmetic and the geometric mean of the
    variances along it, those of the weights and of typical inputs (Jayant and Noll, 1984).
    """
    shape = shape_of(layer)
    if shape.positions == 1 or not shape.can_be_transformed or sum(shape.sides) > _LARGEST_SUM_OF_SIDES:
        return False
    kernels = tensor.detach().double().reshape(-1, layer.kernel_values)
    in_places, in_frequencies = (
        values.square().mean(dim=0).clamp(min=2.0**-500).log2().mean()
        for values in (kernels, frequencies_of(kernels, layer.kernel_shape))
    )
    typical = typical_spatial_moments(tuple(layer.kernel_shape))
    basis = _basis(tuple(layer.kernel_shape))
    of_inputs = (basis @ typical.double() @ basis.T).diagonal().log2().mean()
    return bool(in_frequencies + of_inputs < in_places + typical.diagonal().log2().mean())


@lru_cache(maxsize=64)
def typical_spatial_moments(kernel_shape: tuple[int, ...]) -> Tensor:
    """Return the correlations of the inputs of a kernel, (P, P), as in images and feature maps."""
    moments = torch.ones(1, 1)
    for side in kernel_shape:
        places = torch.arange(side)
        moments = torch.kron(moments, _CORRELATION ** (places[:, None] - places).abs().float())
    return moments


@lru_cache(maxsize=64)
def _basis(kernel_shape: tuple[int, ...]) -> Tensor:
    """Return the basis, float64 (P, P); each row is a frequency."""
    basis = torch.ones(1, 1, dtype=torch.float64)
    for size in kernel_shape:
        frequencies, places = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size) + 0.5
        axis = (frequencies * places * (math.pi / size)).cos() * math.sqrt(2 / size)
        axis[0] = math.sqrt(1 / size)
        basis = torch.kron(basis, axis)
    return basis
