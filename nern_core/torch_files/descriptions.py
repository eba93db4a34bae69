"""What a pickle of torch describes: globals by their names, storages, tensors. Never the things themselves."""

import math
from collections import OrderedDict
from dataclasses import dataclass

from nern_core.tensor_claims import TensorClaim


@dataclass(frozen=True, slots=True)
class Global:
    """A class, function or dtype, by its dotted name."""

    name: str


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """An object of which nothing is kept but the name of what would make it."""

    name: str


class DescribedDict(OrderedDict[object, object]):
    """An OrderedDict and the `attributes` that were set on it, such as the `_metadata` of a state dict."""

    attributes: dict[object, object] | None = None


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes in the file that tensors look at: `items` values of `item_bytes` each.

    `dtype` is a name of safetensors, or torch's for what is not read; None where only tensors tell it.
    """

    key: str
    dtype: str | None
    item_bytes: int
    items: int

    @property
    def length(self) -> int:
        """Bytes of all items."""
        return self.items * self.item_bytes


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A strided tensor: `offset` and `stride` count values of its dtype within the storage."""

    claim: TensorClaim
    stride: tuple[int, ...]
    offset: int
    storage: Storage

    @property
    def extent(self) -> int:
        """Values of the storage from the tensor's first to its last, 0 for a tensor without values."""
        return extent_of(self.claim.shape, self.stride)


@dataclass(frozen=True, slots=True)
class UnreadableTensor:
    """A tensor of a kind that is not read, such as `sparse`."""

    kind: str


def extent_of(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Values that a strided tensor spans."""
    if not math.prod(shape):
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
