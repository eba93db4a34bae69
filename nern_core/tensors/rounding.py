"""Round-to-nearest quantization with one scale per row: the standard method, without training."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rounded:
    """`symbols` int32, in the shape of the tensor, times `scales` float32, one for each index of axis 0."""

    symbols: Tensor
    scales: Tensor

    def values(self) -> Tensor:
        """Return the values of the symbols, float32."""
        return self.symbols * self.scales.view(-1, *[1] * (self.symbols.ndim - 1))


def round_to_nearest(tensor: Tensor, bits: int) -> Rounded:
    """Round each row to 2^bits - 1 levels, symmetric around zero, the outermost at the row's largest magnitude.

    `tensor` has one or more axes; a row consists of all values with the same index on axis 0. A row of zeros stays
    zero.
    """
    rows = tensor.detach().float()
    largest_symbol = 2 ** (bits - 1) - 1
    scales = rows.flatten(1).abs().amax(dim=1) / largest_symbol
    divisors = torch.where(scales > 0, scales, 1.0).view(-1, *[1] * (rows.ndim - 1))
    symbols = (rows / divisors).round().clamp(-largest_symbol, largest_symbol)
    return Rounded(symbols.to(torch.int32), scales)
