"""Rounding that preserves sums: the errors of a kernel, and of all weights of a filter, cancel.

Neighbouring inputs of a layer are similar, and mostly positive after an activation. The common part of these inputs is
multiplied by the sum of the rounding errors, so that sum matters more than any single error. Weights almost halfway
between two integers are rounded to the other one until the sum is below half a step (SQuant, Guo et al., 2022).
"""

import torch
from torch import Tensor

# A smaller kernel has no weight near enough to the midpoint.
FEWEST_VALUES_OF_A_KERNEL = 8
# Number of values rounded together, which bounds the memory.
_VALUES_AT_ONCE = 2**21


def round_balanced(values: Tensor, *, by_kernel: bool) -> Tensor:
    """Round numbers of steps (F, C, P) to integers whose errors cancel in each filter: int32 (F, C, P).

    With `by_kernel`, the errors of each kernel (P values) are cancelled first. Every result is adjacent to its number.
    """
    filters, channels, positions = values.shape
    at_once = max(1, _VALUES_AT_ONCE // max(1, channels * positions))
    parts = []
    for part in values.split(at_once):
        integers = part.round()
        if by_kernel:
            integers = _cancel(part.reshape(-1, positions), integers.reshape(-1, positions))
        integers = _cancel(part.reshape(len(part), -1), integers.reshape(len(part), -1))
        parts.append(integers.to(torch.int32))
    return torch.cat(parts).view(filters, channels, positions)


def _cancel(values: Tensor, integers: Tensor) -> Tensor:
    """Move integers next to values (n, k) by one until the errors of each row sum to at most half a step."""
    errors = integers - values
    excess = errors.sum(dim=1)
    moves = excess.abs().round()[:, None]
    sign = excess.sign()[:, None]
    # Moving the values with the largest errors of that sign costs least.
    order = (errors * sign).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))
    # Only values with an error of that sign may move: all others would end more than one step away.
    movable = (rank < moves) & (errors * sign > 0)
    return integers - movable * sign
