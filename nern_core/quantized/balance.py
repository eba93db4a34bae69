"""Rounding that keeps sums: the errors of a kernel, and of all weights of a filter, cancel.

The inputs of a layer are alike where they are neighbours, and mostly positive after an activation. What such inputs
have in common meets the sum of the rounding errors, so that sum matters more than any single error. Weights that lie
almost halfway between two integers go to the other one until the sum is below half a step (SQuant, Guo et al., 2022).
"""

import torch
from torch import Tensor

# A kernel of fewer values has no weight near enough to the middle.
FEWEST_VALUES_OF_A_KERNEL = 8
# Values that are rounded together, which bounds the memory.
_VALUES_AT_ONCE = 2**21


def round_balanced(values: Tensor, *, by_kernel: bool) -> Tensor:
    """Round numbers of steps (F, C, P) to integers whose errors cancel in each filter: int32 (F, C, P).

    With `by_kernel`, those of each kernel (P values) cancel first. Every result is next to its number.
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
    """Move integers next to values (n, k) by one so that the errors of each row add up to at most half a step."""
    errors = integers - values
    excess = errors.sum(dim=1)
    moves = excess.abs().round()[:, None]
    sign = excess.sign()[:, None]
    # Those with the largest errors of that sign cost least.
    order = (errors * sign).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))
    # Only what was rounded the wrong way may move: all others would be more than one step away.
    movable = (rank < moves) & (errors * sign > 0)
    return integers - movable * sign
