"""Permutations: reorder the kernels of a layer so that neighbouring coordinates hold similar kernels.

A permutation is an *order*: `order[p]` is the raster index of the kernel that gets the p-th
coordinate (paper, section 3.3). Orders come from a greedy chain: start at kernel 0, go on to the
unused kernel of largest cosine similarity, ties to the lowest index.
"""

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nern_core.options import Permutation


def order_kernels(kernels: Tensor, filters: int, method: Permutation) -> Tensor | None:
    """Order the kernels of one layer, float32 of shape (F*C) x (H*W), F = `filters`.

    Returns int64 of shape (F*C,), or None for `Permutation.NONE`. In-filter orders the channels of
    each filter, then the filters; cross-filter orders all kernels of the layer at once.
    """
    if method is Permutation.NONE:
        return None
    units = _unit_kernels(kernels.numpy())
    if method is Permutation.CROSS_FILTER:
        return torch.from_numpy(greedy_chain(units))
    channels = len(units) // filters
    inner = np.stack([greedy_chain(rows) for rows in units.reshape(filters, channels, -1)])
    chained = np.take_along_axis(units.reshape(filters, channels, -1), inner[:, :, None], axis=1)
    # The similarity of two filters is the sum of the cosines of their kernels, place by place.
    outer = greedy_chain(chained.reshape(filters, -1))
    return torch.from_numpy((outer[:, None] * channels + inner[outer]).reshape(-1))


def inverse(order: Tensor) -> Tensor:
    """Coordinate of each kernel: the order that undoes `order`."""
    positions = torch.empty_like(order)
    positions[order] = torch.arange(len(order))
    return positions


def greedy_chain(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Chain the rows of `vectors`, n x d, by largest dot product; a zero row is least similar to all."""
    columns = np.ascontiguousarray(vectors.T)
    return np.asarray(_greedy_chain(columns, np.abs(columns).max(axis=0) > 0), dtype=np.int64)


def _unit_kernels(kernels: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(kernels, axis=1, keepdims=True)
    units: NDArray[np.float32] = np.divide(kernels, norms, out=np.zeros_like(kernels), where=norms > 0)
    return units


@numba.njit(cache=True)
def _greedy_chain(columns: NDArray[np.float32], nonzero: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Exact O(n^2 d) chain over columns, d x n: the rest is kept dense by moving the last into each gap."""
    dimensions, count = columns.shape
    columns = columns.copy()
    nonzero = nonzero.copy()
    index = np.arange(count)
    similarity = np.empty(count, np.float32)
    order = np.empty(count, np.int64)
    current = 0
    for place in range(count):
        order[place] = index[current]
        vector = columns[:, current].copy()
        vector_nonzero = nonzero[current]
        rest = count - place - 1
        index[current] = index[rest]
        nonzero[current] = nonzero[rest]
        for d in range(dimensions):
            columns[d, current] = columns[d, rest]
        similarity[:rest] = 0
        for d in range(dimensions):
            value = vector[d]
            for j in range(rest):
                similarity[j] += value * columns[d, j]
        best = np.float32(-np.inf)
        current = 0
        for j in range(rest):
            candidate = similarity[j] if vector_nonzero and nonzero[j] else np.float32(-dimensions)
            if candidate > best or (candidate == best and index[j] < index[current]):
                best = candidate
                current = j
    return order
