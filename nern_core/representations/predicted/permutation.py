"""Permutations: reorder the kernels of a layer so that neighbouring coordinates hold similar kernels.

A permutation is an *order*: `order[p]` is the raster index of the kernel that gets the p-th coordinate (paper, section
3.3). Orders come from a greedy chain: start at kernel 0, then repeatedly append the unused kernel of largest cosine
similarity, ties to the lowest index.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nern_core.contract.options import Permutation
from nern_core.representations.predicted.greedy_chain import greedy_chain, greedy_unit_chain


def order_kernels(kernels: Tensor, filters: int, method: Permutation) -> Tensor | None:
    """Order the kernels of one layer, float32 of shape (F*C) x (H*W), F = `filters`.

    Returns int64 of shape (F*C,), or None for `Permutation.NONE`. In-filter orders the channels of
    each filter, then the filters; cross-filter orders all kernels of the layer at once.
    """
    if method is Permutation.NONE:
        return None
    units = _unit_kernels(kernels.numpy())
    if method is Permutation.CROSS_FILTER:
        return torch.from_numpy(greedy_unit_chain(units))
    channels = len(units) // filters
    inner = np.stack([greedy_unit_chain(rows) for rows in units.reshape(filters, channels, -1)])
    chained = np.take_along_axis(units.reshape(filters, channels, -1), inner[:, :, None], axis=1)
    # The similarity of two filters is the sum of the cosines of their kernels, position by position.
    outer = greedy_chain(chained.reshape(filters, -1))
    return torch.from_numpy((outer[:, None] * channels + inner[outer]).reshape(-1))


def inverse(order: Tensor) -> Tensor:
    """Return the coordinate of each kernel: the inverse of `order`."""
    positions = torch.empty_like(order)
    positions[order] = torch.arange(len(order))
    return positions


def _unit_kernels(kernels: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(kernels, axis=1, keepdims=True)
    units: NDArray[np.float32] = np.divide(kernels, norms, out=np.zeros_like(kernels), where=norms > 0)
    return units
