"""Norms in float64 that neither overflow nor underflow, for values of any size."""

import torch
from torch import Tensor


def root_mean_square(values: Tensor, dim: int | None = None) -> Tensor:
    """Return the root mean square, float64, of all values or along one axis; 0 if there are no values."""
    if not values.numel():
        return torch.zeros((), dtype=torch.float64)
    largest = values.detach().abs().amax().double()
    scale = torch.where(largest > 0, largest, 1.0)
    return (values.detach().double() / scale).square().mean(dim=dim).sqrt() * scale
