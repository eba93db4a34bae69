"""Selection of the kernels for a training step (paper, section 3.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nern_core.training.snapshots import State

SamplingKind = Literal["all", "random-layer", "sequential-layer", "uniform", "magnitude"]
# With this probability a magnitude-weighted batch is drawn uniformly (the published 80/20 mixture).
_UNIFORM_PROBABILITY = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """The method and the number of kernels drawn.

    `all` kernels of the network; all of one layer of each head, either a `random-layer` or one after the other
    (`sequential-layer`); or batches of `kernels_per_step`:

    `uniform`: with replacement, draws are independent; without it, no kernel is drawn again before all others have been
    drawn.

    `magnitude`: the paper's mixture. Four in five batches are uniform, with no kernel twice in one of them; the others
    are drawn in proportion to the kernels' norms, with `replacement` (published) or without.
    """

    kind: SamplingKind
    kernels_per_step: int = 0
    replacement: bool = True

    def __post_init__(self) -> None:
        if self.in_batches != (self.kernels_per_step > 0):
            raise ValueError("`kernels_per_step` is for `uniform` and `magnitude`, and only for these")

    @property
    def in_batches(self) -> bool:
        """Return True if batches of a given size are drawn."""
        return self.kind in {"uniform", "magnitude"}

    def takes_all(self, kernels: int) -> bool:
        """Return True if each step uses all of `kernels` kernels."""
        return self.kind == "all" or (self.in_batches and self.kernels_per_step >= kernels)


class KernelSampler:
    """Draws indices into the n kernels of one head, float32 (n, kernel values).

    `layer_sizes` are the numbers of kernels of its layers, one after another; `batch` is this head's part of the
    kernels per step.
    """

    def __init__(
        self,
        config: SamplingConfig,
        kernels: Tensor,
        layer_sizes: Sequence[int],
        batch: int,
        generator: torch.Generator,
    ) -> None:
        self._config = config
        self._count = len(kernels)
        self._layers: tuple[Tensor, ...] = torch.arange(self._count).split(list(layer_sizes))
        self._next_layer = 0
        self._batch = min(batch, self._count)
        self._generator = generator
        self._waiting = torch.empty(0, dtype=torch.int64)
        self._norms = kernels.norm(dim=1).double().cpu() if config.kind == "magnitude" else torch.empty(0)

    def state(self) -> State:
        """Return the state of the draws, without the generator's."""
        return {"waiting": self._waiting, "next_layer": self._next_layer}

    def restore(self, state: State) -> None:
        """Restore a state."""
        self._waiting, self._next_layer = state["waiting"], state["next_layer"]

    def draw(self) -> Tensor:
        """Draw indices int64 (m,), on the CPU."""
        match self._config.kind:
            case "all":
                return torch.arange(self._count)
            case "random-layer":
                return self._layers[int(torch.randint(len(self._layers), (), generator=self._generator))]
            case "sequential-layer":
                layer = self._layers[self._next_layer]
                self._next_layer = (self._next_layer + 1) % len(self._layers)
                return layer
            case "uniform":
                return self._uniform()
            case "magnitude":
                return self._mixture()

    def _uniform(self) -> Tensor:
        if self._config.replacement:
            return torch.randint(self._count, (self._batch,), generator=self._generator)
        if not len(self._waiting):
            self._waiting = torch.randperm(self._count, generator=self._generator)
        drawn, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        return drawn

    def _mixture(self) -> Tensor:
        uniform = torch.rand((), generator=self._generator).item() < _UNIFORM_PROBABILITY
        if uniform or not self._norms.any():
            return torch.randperm(self._count, generator=self._generator)[: self._batch]
        if self._config.replacement:
            return weighted_with_replacement(self._norms, self._batch, self._generator)
        return weighted_without_replacement(self._norms, self._batch, self._generator)


def weighted_with_replacement(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw indices int64 (count,) in proportion to weights float64 (n,), not all of them zero.

    Unlike torch.multinomial, it accepts more than 2^24 weights.
    """
    sums = weights.cumsum(dim=0)
    points = torch.rand(count, dtype=torch.float64, generator=generator) * sums[-1]
    return torch.searchsorted(sums, points, right=True).clamp(max=len(weights) - 1)


def weighted_without_replacement(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw distinct indices int64, one by one in proportion to the weights of the remaining ones.

    An exponential race: index i arrives after a time of rate `weights[i]`, and the first `count` win. Indices of weight
    zero never arrive, so there may be fewer.
    """
    candidates = weights.nonzero()[:, 0]
    waiting = torch.empty(len(candidates), dtype=torch.float64).exponential_(generator=generator)
    arrivals = waiting / weights[candidates]
    return candidates[arrivals.topk(min(count, len(candidates)), largest=False).indices]
