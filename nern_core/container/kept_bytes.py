"""The bytes of tensors that are not represented, as a `.nern` file stores them: joined by dtype. Torch-free."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from nern_core.container.document import KeptTensor
from nern_core.container.shuffled import decompress_and_unshuffle
from nern_core.container.stored_tensors import StoredTensor
from nern_core.contract.errors import NernError
from nern_core.formats.tensor_claims import TORCH_ITEM_BYTES

# Prefixes of tensor names in the file; the dtype follows.
PLAIN: Final = "kept."
COMPRESSED: Final = "zstd."
# The dtype of rounded tensors in the file.
_BYTE: Final = "int8"


@dataclass(frozen=True, slots=True)
class KeptBytes:
    """A kept tensor with the bytes of its values, or of its integers; a constant one has none."""

    entry: KeptTensor
    data: bytes = b""


def unpack_kept_bytes(stored: Mapping[str, StoredTensor], entries: Iterable[KeptTensor]) -> list[KeptBytes]:
    """Return the bytes of each kept tensor, given all of them by their names in the file.

    Raises `NernError` (`bad_encoding`) for damage, and for values that are missing or left over.
    """
    entries = list(entries)
    if any(entry.dtype not in TORCH_ITEM_BYTES for entry in entries):
        raise damaged_kept()
    flat = _decompressed(stored, entries)
    starts = dict.fromkeys(flat, 0)
    kept = []
    for entry in entries:
        if entry.constant is not None:
            kept.append(KeptBytes(entry))
            continue
        dtype = _stored_dtype(entry)
        start, size = starts.get(dtype, 0), math.prod(entry.shape) * TORCH_ITEM_BYTES[dtype]
        data = flat.get(dtype, b"")[start : start + size]
        if len(data) != size:
            raise damaged_kept()
        starts[dtype] = start + size
        kept.append(KeptBytes(entry, data))
    if any(starts[dtype] != len(data) for dtype, data in flat.items()):
        raise damaged_kept()
    return kept


def damaged_kept() -> NernError:
    """Make the error for kept tensors that do not match their description."""
    return NernError("bad_encoding", "The .nern file is damaged: its kept tensors do not match its list of tensors.")


def _decompressed(stored: Mapping[str, StoredTensor], entries: Iterable[KeptTensor]) -> dict[str, bytes]:
    """Return the bytes of all tensors of each dtype."""
    counts = Counter[str]()
    for entry in entries:
        if entry.constant is None:
            counts[_stored_dtype(entry)] += math.prod(entry.shape)
    flat: dict[str, bytes] = {}
    for name, tensor in stored.items():
        is_compressed = name.startswith(COMPRESSED)
        dtype = name.removeprefix(COMPRESSED if is_compressed else PLAIN)
        expected = "uint8" if is_compressed else dtype
        if dtype in flat or dtype not in TORCH_ITEM_BYTES or tensor.dtype != expected or len(tensor.shape) != 1:
            raise damaged_kept()
        flat[dtype] = (
            decompress_and_unshuffle(tensor.data, TORCH_ITEM_BYTES[dtype], counts[dtype])
            if is_compressed
            else tensor.data
        )
    return flat


def _stored_dtype(entry: KeptTensor) -> str:
    return _BYTE if entry.exponent is not None else entry.dtype
