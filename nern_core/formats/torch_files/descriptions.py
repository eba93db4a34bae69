"""Descriptions of a torch pickle's contents: globals by name, storages, tensors. Never the objects themselves."""

import math
from collections import OrderedDict
from dataclasses import dataclass

from nern_core.formats.tensor_claims import TensorClaim


@dataclass(frozen=True, slots=True)
class Global:
    """A class, function or dtype, by its dotted name."""

    name: str


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """An object that is not kept; only the name of its class or function is."""

    name: str


class DescribedDict(OrderedDict[object, object]):
    """An OrderedDict and the `attributes` that were set on it, such as the `_metadata` of a state dict."""

    attributes: dict[object, object] | None = None


@dataclass(frozen=True, slots=True)
class Storage:
    """A range of bytes in the file that tensors refer to: `items` values of `item_bytes` each.

    `dtype` is a safetensors name, or torch's name for an unsupported dtype; None if only tensors specify it.
    """

    key: str
    dtype: str | None
    item_bytes: int
    items: int

    @property
    def length(self) -> int:
        """Return the bytes of all items."""
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
        """Return the number of values from the tensor's first to its last, 0 for an empty tensor."""
        return extent_of(self.claim.shape, self.stride)


@dataclass(frozen=True, slots=True)
class UnreadableTensor:
    """A tensor of an unsupported kind, such as `sparse`."""

    kind: str


def extent_of(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Return the number of values that a strided tensor spans."""
    if not math.prod(shape):
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
