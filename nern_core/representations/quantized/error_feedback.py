"""Rounding with error feedback: what rounding a weight changes in the output, later weights of the filter make up for.

The inputs of a layer are correlated, so that part of the error of one weight can be cancelled by others. Weights are
rounded one after another, and the expected error of the output is subtracted from those that follow, by a Cholesky
factor of the inverse second moments of the inputs (GPTQ, Frantar et al., 2023).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Of the mean of the diagonal, added to it: keeps inverses accurate, and errors of rarely used weights bounded.
_DAMPING = 0.01
_SMALLEST_VARIANCE = 1e-30
_INPUTS_AT_ONCE = 4


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
    """Round weights (outputs, inputs) to multiples of the steps of their inputs (inputs,).

    The weights of an output may be divided by any number before, such as by a step of this output. Returns the numbers
    of steps that were rounded, before rounding: each is the weight plus its share of the errors of earlier weights.
    """
    latents, start = np.empty_like(values), 0
    for block in blocks:
        end = start + len(block.order)
        groups = np.split(values[:, start:end], len(block.factor))
        rounded = [
            _round_group(group, steps[start:end][block.order], factor, block.order)
            for group, factor in zip(groups, block.factor, strict=True)
        ]
        latents[:, start:end] = np.concatenate(rounded)
        start = end
    return latents


def _round_group(
    values: NDArray[np.float32], steps: NDArray[np.float32], factor: NDArray[np.float32], order: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Round the outputs of one group (outputs, n) with its factor (n, n); `steps` (n,) are in the order of rounding."""
    # One row for each input, in the order of rounding, so that all outputs are rounded at once.
    latents = np.ascontiguousarray(values.T[order])
    errors = np.empty_like(latents)
    _round_rows(latents, errors, steps, factor, 0, len(order))
    in_place = np.empty_like(latents)
    in_place[order] = latents
    return in_place.T


def _round_rows(
    rest: NDArray[np.float32],
    errors: NDArray[np.float32],
    steps: NDArray[np.float32],
    factor: NDArray[np.float32],
    start: int,
    end: int,
) -> None:
    """Replace rows of weights by numbers of steps, one half after the other; `errors` are set.

    The errors of the first half reach the second one in one product of matrices.
    """
    if end - start > _INPUTS_AT_ONCE:
        middle = (start + end) // 2
        _round_rows(rest, errors, steps, factor, start, middle)
        rest[middle:end] -= factor[start:middle, middle:end].T @ errors[start:middle]
        _round_rows(rest, errors, steps, factor, middle, end)
        return
    for place in range(start, end):
        row = rest[place]
        # The part of the row that rounding leaves over, in numbers of steps.
        row /= steps[place]
        np.subtract(row, np.rint(row), out=errors[place])
        errors[place] *= steps[place] / factor[place, place]
        for later in range(place + 1, end):
            rest[later] -= factor[place, later] * errors[place]
