"""Tensors that are not represented, concatenated: one flat tensor per dtype, and constants in the document."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nern_core.container.document import KeptTensor
from nern_core.container.shuffled import decompress_and_unshuffle, shuffle_and_compress
from nern_core.container.step_grid import step_of
from nern_core.contract.errors import NernError

_DTYPES: Final = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
        *(torch.float8_e4m3fn, torch.float8_e5m2),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
        *(torch.uint16, torch.uint32, torch.uint64),
    )
}
_BYTE: Final = "int8"
# Prefixes of tensor names in the file; the dtype follows.
PLAIN: Final = "kept."
COMPRESSED: Final = "zstd."


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
        packed = shuffle_and_compress(values) if values.numel() else values
        smaller = packed.nbytes < values.nbytes
        stored[(COMPRESSED if smaller else PLAIN) + dtype] = packed if smaller else values
    return stored


def decompress_kept(stored: Mapping[str, Tensor], entries: Iterable[KeptTensor]) -> dict[str, Tensor]:
    """Undo `compress_kept` for these kept tensors. Raises `NernError` (`bad_encoding`)."""
    counts = Counter[str]()
    for entry in entries:
        if entry.constant is None:
            counts[_stored_dtype(entry)] += math.prod(entry.shape)
    flat: dict[str, Tensor] = {}
    for name, values in stored.items():
        is_compressed = name.startswith(COMPRESSED)
        dtype = name.removeprefix(COMPRESSED if is_compressed else PLAIN)
        expected = torch.uint8 if is_compressed else _DTYPES.get(dtype)
        if dtype in flat or dtype not in _DTYPES or values.dtype != expected or values.ndim != 1:
            raise _damaged()
        flat[dtype] = decompress_and_unshuffle(values, _DTYPES[dtype], counts[dtype]) if is_compressed else values
    return flat


def unpack_kept(entries: Iterable[KeptTensor], flat: Mapping[str, Tensor]) -> dict[str, Kept]:
    """Undo `pack_kept`. Raises `NernError` (`bad_encoding`) if values are missing or left over."""
    kept: dict[str, Kept] = {}
    starts = dict.fromkeys(flat, 0)
    for entry in entries:
        dtype, count = _DTYPES.get(entry.dtype), math.prod(entry.shape)
        if dtype is None:
            raise _damaged()
        if entry.constant is not None:
            kept[entry.name] = _constant_tensor(entry, entry.constant, dtype)
            continue
        stored = _stored_dtype(entry)
        start = starts.get(stored, 0)
        values = flat.get(stored, torch.empty(0))[start : start + count]
        if len(values) != count:
            raise _damaged()
        starts[stored] = start + count
        # A copy, so that no tensor keeps the memory of its whole dtype alive.
        tensor = values.clone().view(entry.shape)
        kept[entry.name] = tensor if entry.exponent is None else RoundedTensor(tensor, entry.exponent, dtype)
    if any(starts[dtype] != len(values) for dtype, values in flat.items()):
        raise _damaged()
    return kept


def _stored_dtype(entry: KeptTensor) -> str:
    return _BYTE if entry.exponent is not None else entry.dtype


def _constant_tensor(entry: KeptTensor, constant: float, dtype: torch.dtype) -> Tensor:
    try:
        return torch.full(entry.shape, constant, dtype=dtype)
    except (OverflowError, RuntimeError) as error:  # not a value of the dtype
        raise _damaged() from error


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


def _damaged() -> NernError:
    return NernError("bad_encoding", "The .nern file is damaged: its kept tensors do not match its list of tensors.")
