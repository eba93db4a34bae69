"""Which kernels a training step looks at (paper, section 3.4)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# With this probability a magnitude-weighted batch is drawn uniformly (the published 80/20 mixture).
_UNIFORM_PROBABILITY = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How many kernels are drawn, and how.

    `uniform` draws with replacement; `magnitude` is the paper's mixture: mostly uniform without
    replacement, sometimes with replacement in proportion to the kernels' norms.
    """

    kind: Literal["uniform", "magnitude"]
    kernels_per_step: int


class KernelSampler:
    """Draws batches of indices into n kernels, float32 (n, H*W)."""

    def __init__(self, config: SamplingConfig, kernels: Tensor, batch: int, generator: torch.Generator) -> None:
        self._config = config
        self._count = len(kernels)
        self._batch = min(batch, self._count)
        self._generator = generator
        self._norms = kernels.norm(dim=1) if config.kind == "magnitude" else None

    def draw(self) -> Tensor:
        """Indices int64 (batch,)."""
        if self._norms is None:
            return torch.randint(self._count, (self._batch,), generator=self._generator)
        uniform = torch.rand((), generator=self._generator).item() < _UNIFORM_PROBABILITY
        if uniform or not self._norms.any():
            return torch.randperm(self._count, generator=self._generator)[: self._batch]
        return torch.multinomial(self._norms, self._batch, replacement=True, generator=self._generator)
