"""Steps of a layer as a product of a step for each filter, channel and position."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nern_core.container.step_grid import exponents_of_logarithms, steps_of


@dataclass(frozen=True, slots=True)
class StepTables:
    """Logarithms of steps in octaves, float64, to be added up: `filters` (F,), `channels` (C,), `positions` (P,)."""

    filters: Tensor
    channels: Tensor
    positions: Tensor

    @property
    def level(self) -> float:
        """Return the mean logarithm of all steps."""
        return float(self.filters.mean() + self.channels.mean() + self.positions.mean())

    def enlarged(self, octaves: float) -> "StepTables":
        """Return the steps times 2^octaves."""
        return StepTables(self.filters + octaves, self.channels, self.positions)

    def exponents(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the exponents of the nearest steps of the grid, int32, by table."""
        return tuple(exponents_of_logarithms(table) for table in (self.filters, self.channels, self.positions))  # type: ignore[return-value]

    def steps(self) -> Tensor:
        """Return the steps on the grid, float64 (F, C, P)."""
        filters, channels, positions = self.exponents()
        total = filters[:, None, None] + channels[:, None] + positions
        return steps_of(total.flatten()).view(total.shape)

    def centred_steps(self) -> tuple[Tensor, Tensor]:
        """Return factors of the same steps, float64: for filters (F,), and about 1 for inputs of a filter (C * P,)."""
        filters, channels, positions = self.exponents()
        inputs = (channels[:, None] + positions).flatten()
        middle = inputs.double().mean().round().to(torch.int32)
        return steps_of(filters + middle), steps_of(inputs - middle)
