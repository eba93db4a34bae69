"""Rounding with error feedback: what rounding a weight changes in the output, later weights of the filter make up for.

The inputs of a layer are correlated, so that part of the error of one weight can be cancelled by others. Weights are
rounded one after another, and the expected error of the output is subtracted from those that follow, by a Cholesky
factor of the inverse second moments of the inputs (GPTQ, Frantar et al., 2023).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Of the mean of the diagonal, added to it: keeps inverses accurate, and errors of rarely used weights bounded.
_DAMPING = 0.01
_SMALLEST_VARIANCE = 1e-30
_ROWS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class FeedbackBlock:
    """Consecutive inputs of a layer, in the `order` of their rounding.

    `factor` float32 (G, n, n) is upper triangular; in row k, the entries behind the diagonal, divided by it, are the
    shares of the k-th rounding error that the later weights make up for.
    """

    order: NDArray[np.int64]
    factor: NDArray[np.float32]

    def variances(self) -> NDArray[np.float64]:
        """Return the part of the moment of each input that no later one explains, (G, n) in the original order."""
        diagonal = np.diagonal(self.factor, axis1=1, axis2=2).astype(np.float64)
        variances = np.empty_like(diagonal)
        variances[:, self.order] = 1 / diagonal**2
        return variances


def feedback_block(moments: Tensor) -> FeedbackBlock:
    """Factorize the moments (G, n, n) of consecutive inputs; those with the largest moments are rounded first."""
    damped = moments.double()
    diagonal = damped.diagonal(dim1=1, dim2=2)
    # Inputs that are always zero count as much as the damping.
    floor = (_DAMPING * diagonal.mean(dim=1, keepdim=True)).clamp(min=_SMALLEST_VARIANCE)
    damped = damped + torch.diag_embed(floor.expand_as(diagonal))
    order = diagonal.mean(dim=0).argsort(descending=True, stable=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped[:, order][:, :, order]))
    factor = torch.linalg.cholesky(inverse, upper=True)
    return FeedbackBlock(order.numpy(), factor.float().numpy())


def round_with_feedback(
    values: NDArray[np.float32], steps: NDArray[np.float32], blocks: tuple[FeedbackBlock, ...]
) -> NDArray[np.float32]:
    """Round weights (outputs, inputs) to multiples of their steps (outputs, inputs).

    Returns the numbers of steps that were rounded, before rounding: each is the weight plus its share of the errors of
    earlier weights.
    """
    latents, start = [], 0
    for block in blocks:
        end = start + len(block.order)
        # Contiguous, so that one compiled function fits blocks of all sizes.
        part = np.ascontiguousarray(values[:, start:end])
        latents.append(_round_block(part, np.ascontiguousarray(steps[:, start:end]), block))
        start = end
    return np.concatenate(latents, axis=1)


def _round_block(values: NDArray[np.float32], steps: NDArray[np.float32], block: FeedbackBlock) -> NDArray[np.float32]:
    latents = np.empty_like(values)
    rows_of_group = len(values) // len(block.factor)

    def round_rows(first: int) -> None:
        group = first // rows_of_group
        last = min(first + _ROWS_AT_ONCE, (group + 1) * rows_of_group)
        _round_rows(values[first:last], steps[first:last], block.factor[group], block.order, latents[first:last])

    starts = [
        group * rows_of_group + row
        for group in range(len(block.factor))
        for row in range(0, rows_of_group, _ROWS_AT_ONCE)
    ]
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        for _ in pool.map(round_rows, starts):
            pass
    return latents


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _round_rows(
    values: NDArray[np.float32],
    steps: NDArray[np.float32],
    factor: NDArray[np.float32],
    order: NDArray[np.int64],
    latents: NDArray[np.float32],
) -> None:
    """Round some rows (rows, n) of a block, and set their `latents`."""
    rows, columns = values.shape
    rest = np.empty((rows, columns), np.float32)
    for row in range(rows):
        for place in range(columns):
            rest[row, place] = values[row, order[place]]
    for place in range(columns):
        column = order[place]
        diagonal = factor[place, place]
        for row in range(rows):
            step = steps[row, column]
            latent = rest[row, place] / step
            latents[row, column] = latent
            error = (rest[row, place] - np.rint(latent) * step) / diagonal
            for later in range(place + 1, columns):
                rest[row, later] -= error * factor[place, later]
