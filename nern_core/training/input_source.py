"""Sources of the inputs of distillation."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from nern_core.networks.input_batch import InputBatch
from nern_core.networks.model_inputs import ModelInputs, join, split


class InputSource(ABC):
    """A source of inputs, batch after batch. Random choices are made on the CPU, inputs on the networks' device."""

    @abstractmethod
    def choose(self) -> tuple[Tensor, ...]:
        """Choose the data of a new batch, on the CPU."""

    @abstractmethod
    def inputs(self, *chosen: Tensor) -> ModelInputs:
        """Make inputs on the networks' device from chosen data."""

    def several(self, count: int) -> list[ModelInputs]:
        """Make the inputs of this number of batches."""
        return [self.inputs(*self.choose()) for _ in range(count)]


class StoredBatches(InputSource):
    """Batches drawn with replacement; all have the same structure."""

    def __init__(self, batches: Sequence[InputBatch], generator: torch.Generator, device: torch.device) -> None:
        self._tensors = [split(batch.inputs)[0] for batch in batches]
        _, self._structure, self._constants = split(batches[0].inputs)
        self._generator = generator
        self._device = device

    def choose(self) -> tuple[Tensor, ...]:
        """Draw a batch."""
        return self._tensors[int(torch.randint(len(self._tensors), (), generator=self._generator))]

    def inputs(self, *chosen: Tensor) -> ModelInputs:
        """Move the batch to the networks' device."""
        return join(tuple(tensor.to(self._device) for tensor in chosen), self._structure, self._constants)

    def several(self, count: int) -> list[ModelInputs]:
        """Return batches drawn without replacement, at most all."""
        order = torch.randperm(len(self._tensors), generator=self._generator)[:count]
        return [self.inputs(*self._tensors[int(index)]) for index in order]
