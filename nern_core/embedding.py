"""Positional encoding of kernel coordinates (paper, section 3.1; settings of the published runs)."""

import math

import torch
from torch import Tensor


def positional_encoding(values: Tensor, *, levels: int, base: float) -> Tensor:
    """Encode integer coordinates, shape (n,), as float64 sinusoids, shape (n, 2 * levels).

    For the coordinate x and level i the pair is sin(pi * base**i * x), cos(pi * base**i * x),
    interleaved over i = 0 ... levels - 1. With base < 1 the highest frequency is pi, so neighbouring
    coordinates get similar codes. Computed in float64 so that it does not depend on the device.
    """
    frequencies = math.pi * torch.tensor([base**level for level in range(levels)], dtype=torch.float64)
    angles = values.to(torch.float64)[:, None] * frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)
