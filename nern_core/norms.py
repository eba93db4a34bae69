"""Norms in float64 that neither overflow nor vanish, whatever the size of the values."""

import torch
from torch import Tensor


def root_mean_square(values: Tensor, dim: int | None = None) -> Tensor:
    """Root of the mean of squares, float64, of all values or along one axis; of no values it is 0."""
    if not values.numel():
        return torch.zeros((), dtype=torch.float64)
    largest = values.detach().abs().amax().double()
    scale = torch.where(largest > 0, largest, 1.0)
    return (values.detach().double() / scale).square().mean(dim=dim).sqrt() * scale
