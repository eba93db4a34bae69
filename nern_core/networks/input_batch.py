"""A batch of inputs for any network."""

from dataclasses import dataclass

from torch import Tensor

from nern_core.networks.model_inputs import ModelInputs, split


@dataclass(frozen=True, slots=True)
class InputBatch:
    """The inputs of one call of a network; `labels` are the true classes, int64 (n,), if known.

    `count` is the number of examples if these are a list; otherwise, it is the first size of all tensors. `number` is
    the place of the batch in its data set, from 1, if known.
    """

    inputs: ModelInputs
    labels: Tensor | None = None
    count: int | None = None
    number: int | None = None

    @property
    def examples(self) -> int:
        """Return the number of examples."""
        if self.count is not None:
            return self.count
        tensors, _, _ = split(self.inputs)
        return len(tensors[0]) if tensors and tensors[0].ndim else 1

    @property
    def bytes(self) -> int:
        """Return the bytes of all tensors."""
        return sum(tensor.nbytes for tensor in split(self.inputs)[0])
