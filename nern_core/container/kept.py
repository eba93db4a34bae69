"""Tensors that are not represented, concatenated: one flat tensor per dtype, and constants in the document."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nern_core.container.document import KeptTensor
from nern_core.container.kept_bytes import COMPRESSED, PLAIN, KeptBytes, damaged_kept, unpack_kept_bytes
from nern_core.container.shuffled import shuffle_and_compress
from nern_core.container.step_grid import step_of
from nern_core.container.stored_tensors import StoredTensor
from nern_core.formats.tensor_claims import TORCH_ITEM_BYTES

_DTYPES: Final = {name: getattr(torch, name) for name in TORCH_ITEM_BYTES}


@dataclass(frozen=True, slots=True)
class RoundedTensor:
    """A tensor as `integers`, int8, times the step of the `exponent`; decoded as the dtype `dtype`."""

    integers: Tensor
    exponent: int
    dtype: torch.dtype

    def values(self) -> Tensor:
        """Return the decoded tensor."""
        return (self.integers.double() * step_of(self.exponent)).to(self.dtype)


Kept = Tensor | RoundedTensor


def values_of(kept: Kept) -> Tensor:
    """Return the decoded tensor of a kept one."""
    return kept.values() if isinstance(kept, RoundedTensor) else kept


def pack_kept(kept: Mapping[str, Kept]) -> tuple[tuple[KeptTensor, ...], dict[str, Tensor]]:
    """Describe the tensors and concatenate their values: one flat tensor per dtype, under the dtype's name."""
    entries: list[KeptTensor] = []
    flat: dict[str, list[Tensor]] = {}
    for name, tensor in kept.items():
        entry = _describe(name, tensor)
        entries.append(entry)
        if entry.constant is None:
            stored = tensor.integers if isinstance(tensor, RoundedTensor) else tensor
            flat.setdefault(_name(stored.dtype), []).append(stored.flatten())
    return tuple(entries), {dtype: torch.cat(parts) for dtype, parts in flat.items()}


def compress_kept(flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compress each dtype where that is smaller; add a prefix to its name that says whether it is compressed."""
    stored = {}
    for dtype, values in flat.items():
        data = values.contiguous().view(torch.uint8).numpy().tobytes() if values.numel() else b""
        packed = shuffle_and_compress(data, values.itemsize)
        smaller = len(packed) < len(data)
        stored[(COMPRESSED if smaller else PLAIN) + dtype] = (
            tensor_of_bytes(packed, torch.uint8, (len(packed),)) if smaller else values
        )
    return stored


def unpack_kept(stored: Mapping[str, StoredTensor], entries: Iterable[KeptTensor]) -> dict[str, Kept]:
    """Return the kept tensors of a file. Raises `NernError` (`bad_encoding`) for damage."""
    return {kept.entry.name: _kept(kept) for kept in unpack_kept_bytes(stored, entries)}


def _kept(kept: KeptBytes) -> Kept:
    entry, dtype = kept.entry, _DTYPES[kept.entry.dtype]
    if entry.constant is not None:
        return _constant_tensor(entry, entry.constant, dtype)
    if entry.exponent is None:
        return tensor_of_bytes(kept.data, dtype, entry.shape)
    return RoundedTensor(tensor_of_bytes(kept.data, torch.int8, entry.shape), entry.exponent, dtype)


def tensor_of_bytes(data: bytes, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Return a copy of bytes as a tensor of this dtype and shape."""
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).view(shape)


def _constant_tensor(entry: KeptTensor, constant: float, dtype: torch.dtype) -> Tensor:
    try:
        return torch.full(entry.shape, constant, dtype=dtype)
    except (OverflowError, RuntimeError) as error:  # not a value of the dtype
        raise damaged_kept() from error


def _describe(name: str, tensor: Kept) -> KeptTensor:
    if isinstance(tensor, RoundedTensor):
        shape, dtype = tuple(tensor.integers.shape), _name(tensor.dtype)
        return KeptTensor(name=name, shape=shape, dtype=dtype, exponent=tensor.exponent)
    constant = _constant(tensor)
    return KeptTensor(name=name, shape=tuple(tensor.shape), dtype=_name(tensor.dtype), constant=constant)


def _constant(tensor: Tensor) -> int | float | None:
    """Return the single value of a constant tensor if JSON can represent it exactly, else None."""
    exact = tensor.is_floating_point() or tensor.dtype in {torch.int64, torch.int32, torch.int16, torch.uint8}
    if not exact or not tensor.numel() or tensor.element_size() == 1:
        return None
    first: int | float = tensor.flatten()[0].item()
    alike = bool((tensor == first).all() and math.isfinite(first))
    # +0.0 and -0.0 compare equal but differ in their bits.
    return None if not alike or (first == 0 and bool(tensor.signbit().any())) else first


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
