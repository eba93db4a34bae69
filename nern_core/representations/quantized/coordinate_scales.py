"""Scales of a kernel's integers, as a function of its coordinates.

The scale of the integer at filter f, channel c and position p of a layer is a product of one factor for each, so its
logarithm is a sum of table rows, as in the first layer of a predictor, but of integers. So every machine finds the same
class for each integer, and with it the distribution that the integer was coded with.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nern_core.codec.layers import CLASSES

_CLASSES_PER_OCTAVE = 3
_CLASS_OF_ONE = 24
# Keeps the scale of a filter of zeros positive.
_SMALLEST_MAGNITUDE = 0.02
_ROUNDS = 4
# Bits for coding an entry of a table.
_BITS_OF_AN_ENTRY = 2.5


@dataclass(frozen=True, slots=True)
class CoordinateScales:
    """Tables of one layer, int32: `filters` (F,), `channels` (C,), `positions` (P,); their sum is a class."""

    filters: Tensor
    channels: Tensor
    positions: Tensor

    def classes(self) -> Tensor:
        """Return the class of every integer of the layer, uint8 (F, C, P)."""
        total = self.filters[:, None, None] + self.channels[:, None] + self.positions
        return total.clamp(0, CLASSES - 1).to(torch.uint8)


def fit_scales(integers: Tensor) -> CoordinateScales:
    """Fit the tables to the magnitudes of integers (F, C, P), by proportional fitting of their margins."""
    magnitudes = integers.abs().float() + _SMALLEST_MAGNITUDE
    filter_count, channel_count, position_count = magnitudes.shape
    kernels = magnitudes.view(-1, position_count)
    channels, positions = (magnitudes.new_ones(size) for size in (channel_count, position_count))
    for _ in range(_ROUNDS):
        over_positions = (kernels @ (1 / positions)).view(filter_count, channel_count)
        filters = over_positions @ (1 / channels) / (channel_count * position_count)
        channels = (1 / filters) @ over_positions / (filter_count * position_count)
        positions = torch.outer(1 / filters, 1 / channels).flatten() @ kernels / (filter_count * channel_count)
    logarithms = [factors.double().log2() * _CLASSES_PER_OCTAVE for factors in (filters, channels, positions)]
    logarithms = [_if_worth_it(table, magnitudes.numel()) for table in logarithms]
    # The common offset goes to the filters' table, so that the other tables are centred at zero.
    for index in (1, 2):
        middle = logarithms[index].mean()
        logarithms[index] = logarithms[index] - middle
        logarithms[0] = logarithms[0] + middle
    logarithms[0] = logarithms[0] + _CLASS_OF_ONE
    return CoordinateScales(*(logarithm.round().to(torch.int32) for logarithm in logarithms))


def _if_worth_it(table: Tensor, integers: int) -> Tensor:
    """Return the table of a layer with this number of integers, or equal values if it saves fewer bits than it takes.

    The bits of an integer grow with the logarithm of its scale: by how much less with different scales than with their
    common mean, is the saving.
    """
    scales = table / _CLASSES_PER_OCTAVE
    mean = scales.exp2().mean().log2()
    saved = integers * (mean - scales.mean())
    if saved > _BITS_OF_AN_ENTRY * len(table):
        return table
    return torch.full_like(table, float(mean) * _CLASSES_PER_OCTAVE)
