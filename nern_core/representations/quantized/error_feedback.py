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
_INPUTS_AT_ONCE = 64


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
    latents, start = np.empty_like(values), 0
    for block in blocks:
        end, groups = start + len(block.order), len(block.factor)
        of_values, of_steps = (np.split(matrix[:, start:end], groups) for matrix in (values, steps))
        rounded = [
            _round_group(group, step, factor, block.order)
            for group, step, factor in zip(of_values, of_steps, block.factor, strict=True)
        ]
        latents[:, start:end] = np.concatenate(rounded)
        start = end
    return latents


def _round_group(
    values: NDArray[np.float32], steps: NDArray[np.float32], factor: NDArray[np.float32], order: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Round the outputs of one group (outputs, n) with its factor (n, n)."""
    # One row for each input, in the order of rounding, so that all outputs are rounded at once.
    rest, step = (np.ascontiguousarray(matrix.T[order]) for matrix in (values, steps))
    latents = np.empty_like(rest)
    for start in range(0, len(order), _INPUTS_AT_ONCE):
        end = min(start + _INPUTS_AT_ONCE, len(order))
        errors = np.empty_like(rest[start:end])
        for place in range(start, end):
            latents[place] = rest[place] / step[place]
            errors[place - start] = (rest[place] - np.rint(latents[place]) * step[place]) / factor[place, place]
            rest[place + 1 : end] -= factor[place, place + 1 : end, None] * errors[place - start]
        # The errors of several inputs reach the later ones in one product.
        rest[end:] -= factor[start:end, end:].T @ errors
    in_place = np.empty_like(latents)
    in_place[order] = latents
    return in_place.T
