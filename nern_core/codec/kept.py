"""Tensors that are not represented, put side by side: one flat tensor for each dtype, and constants in the document."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nern_core.codec.document import KeptTensor
from nern_core.errors import NernError
from nern_core.quantized.grid import step_of

_DTYPES: Final = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
        *(torch.float8_e4m3fn, torch.float8_e5m2),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
        *(torch.uint16, torch.uint32, torch.uint64),
    )
}
_BYTE: Final = "int8"


@dataclass(frozen=True, slots=True)
class RoundedTensor:
    """A tensor as `integers` int8 times the step of the `exponent`, to be decoded as the dtype `dtype`."""

    integers: Tensor
    exponent: int
    dtype: torch.dtype

    def values(self) -> Tensor:
        """What it is decoded to."""
        return (self.integers.double() * step_of(self.exponent)).to(self.dtype)


Kept = Tensor | RoundedTensor


def values_of(kept: Kept) -> Tensor:
    """The tensor that a kept one is decoded to."""
    return kept.values() if isinstance(kept, RoundedTensor) else kept


def pack_kept(kept: Mapping[str, Kept]) -> tuple[tuple[KeptTensor, ...], dict[str, Tensor]]:
    """Describe the tensors, and put their values side by side: a flat tensor by the name of its dtype."""
    entries: list[KeptTensor] = []
    flat: dict[str, list[Tensor]] = {}
    for name, tensor in kept.items():
        entry = _describe(name, tensor)
        entries.append(entry)
        if entry.constant is None:
            stored = tensor.integers if isinstance(tensor, RoundedTensor) else tensor
            flat.setdefault(_name(stored.dtype), []).append(stored.flatten())
    return tuple(entries), {dtype: torch.cat(parts) for dtype, parts in flat.items()}


def unpack_kept(entries: Iterable[KeptTensor], flat: Mapping[str, Tensor]) -> dict[str, Kept]:
    """Undo `pack_kept`. Raises `NernError` (`bad_encoding`) where values are missing or left over."""
    kept: dict[str, Kept] = {}
    starts = dict.fromkeys(flat, 0)
    for entry in entries:
        dtype, count = _DTYPES.get(entry.dtype), math.prod(entry.shape)
        if dtype is None:
            raise _damaged()
        if entry.constant is not None:
            kept[entry.name] = _constant_tensor(entry, entry.constant, dtype)
            continue
        stored = _BYTE if entry.exponent is not None else entry.dtype
        start = starts.get(stored, 0)
        values = flat.get(stored, torch.empty(0))[start : start + count]
        if len(values) != count:
            raise _damaged()
        starts[stored] = start + count
        # A copy, so that no tensor holds on to all of its dtype.
        tensor = values.clone().view(entry.shape)
        kept[entry.name] = tensor if entry.exponent is None else RoundedTensor(tensor, entry.exponent, dtype)
    if any(starts[dtype] != len(values) for dtype, values in flat.items()):
        raise _damaged()
    return kept


def _constant_tensor(entry: KeptTensor, constant: float, dtype: torch.dtype) -> Tensor:
    try:
        return torch.full(entry.shape, constant, dtype=dtype)
    except (OverflowError, RuntimeError) as error:  # no value of the dtype
        raise _damaged() from error


def _describe(name: str, tensor: Kept) -> KeptTensor:
    if isinstance(tensor, RoundedTensor):
        shape, dtype = tuple(tensor.integers.shape), _name(tensor.dtype)
        return KeptTensor(name=name, shape=shape, dtype=dtype, exponent=tensor.exponent)
    constant = _constant(tensor)
    return KeptTensor(name=name, shape=tuple(tensor.shape), dtype=_name(tensor.dtype), constant=constant)


def _constant(tensor: Tensor) -> int | float | None:
    """The one value of a tensor, if JSON can say it exactly."""
    exact = tensor.is_floating_point() or tensor.dtype in {torch.int64, torch.int32, torch.int16, torch.uint8}
    if not exact or not tensor.numel() or tensor.element_size() == 1:
        return None
    first: int | float = tensor.flatten()[0].item()
    alike = bool((tensor == first).all() and math.isfinite(first))
    # Zeros of both signs are equal, and yet two values.
    return None if not alike or (first == 0 and bool(tensor.signbit().any())) else first


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _damaged() -> NernError:
    return NernError("bad_encoding", "The .nern file is damaged: its kept tensors are not the ones that it lists.")
