"""What training makes small, in two parts: what is drawn for a step, and what is computed of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nern_core.snapshots import State


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What a step is computed of: tensors by what they are for, and `settings`, which say what is computed."""

    tensors: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    settings: tuple[object, ...] = ()

    def each(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with what a function makes of each tensor."""
        tensors = {name: tuple(function(tensor) for tensor in of) for name, of in self.tensors.items()}
        return Batch(tensors=tensors, settings=self.settings)


class Loss(ABC):
    """A loss on a `device`. All that is random or up to the CPU is in `draw`.

    `compute` is the same operations for batches of the same settings and shapes, so that a GPU can repeat them.
    """

    device: torch.device

    def __call__(self, fraction: float) -> Tensor:
        """Scalar loss of a new batch at this fraction of the phase."""
        return self.compute(self.draw(fraction))

    @abstractmethod
    def draw(self, fraction: float) -> Batch:
        """A new batch, its tensors on the CPU, for this fraction of the phase."""

    @abstractmethod
    def compute(self, batch: Batch) -> Tensor:
        """Scalar loss of a batch, whose tensors may be on the CPU or on the device."""

    @abstractmethod
    def state(self) -> State:
        """What the next batches depend on."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Go on from a state."""
