"""Losses for training, in two parts: drawing the data of a step, and computing the loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nern_core.training.snapshots import State


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """The data of a step: tensors by purpose, and `settings`, which select the computation."""

    tensors: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    settings: tuple[object, ...] = ()

    def each(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with a function applied to each tensor."""
        tensors = {name: tuple(function(tensor) for tensor in of) for name, of in self.tensors.items()}
        return Batch(tensors=tensors, settings=self.settings)


class Loss(ABC):
    """A loss on a `device`. Everything random or computed on the CPU is in `draw`.

    `compute` runs the same operations for batches of the same settings and shapes, so that a GPU can replay them.
    """

    device: torch.device

    def __call__(self, fraction: float) -> Tensor:
        """Return the scalar loss of a new batch at this fraction of the phase."""
        return self.compute(self.draw(fraction))

    @abstractmethod
    def draw(self, fraction: float) -> Batch:
        """Draw a new batch, its tensors on the CPU, for this fraction of the phase."""

    @abstractmethod
    def compute(self, batch: Batch) -> Tensor:
        """Return the scalar loss of a batch, whose tensors may be on the CPU or on the device."""

    @abstractmethod
    def state(self) -> State:
        """Return the state of the next batches."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Restore a state."""
