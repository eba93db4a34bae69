"""Kernels as frequencies: an orthonormal separable cosine transform (DCT-II) of the spatial axes of a kernel.

Kernels of trained networks are smooth, and their inputs are smoother still, so that most of the energy is in few low
frequencies (Young et al., 2021). In this basis, steps can depend on the frequency.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


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
