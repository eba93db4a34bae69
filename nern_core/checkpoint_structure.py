"""What an uploaded file claims to hold, told from its first bytes and its header alone. Torch-free.

For a safetensors file that is every name, dtype and shape. The header of a torch file is a pickle,
which is left to the process that reads the tensors.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, TypeAdapter, ValidationError

from nern_core.errors import NernError
from nern_core.kernel_policy import choose_tensors

# A header names tensors; one of this size would name some hundred thousand.
_LARGEST_HEADER = 10 * 2**20
_ZIP_MAGIC = b"PK\x03\x04"
# torch files before version 1.6 start with a pickle of the number 0x1950a86a20f9469cfc6c.
_PICKLE_MAGIC = b"\x80"
_LEGACY_MAGIC = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_HEAD_BYTES = 32
_FLOATING_POINT = {"F16", "BF16", "F32", "F64"}
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")

T = TypeVar("T")


class CheckpointFormat(StrEnum):
    """The file formats that a checkpoint may have."""

    SAFETENSORS = "safetensors"
    TORCH_ZIP = "torch"
    TORCH_LEGACY = "torch-legacy"


class TensorClaim(BaseModel):
    """One tensor as a safetensors header declares it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: str
    shape: tuple[NonNegativeInt, ...]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


@dataclass(frozen=True, slots=True)
class CheckpointStructure:
    """Format of a file and, for safetensors, its tensors by name (None for the torch formats)."""

    format: CheckpointFormat
    tensors: dict[str, TensorClaim] | None


_TENSORS = TypeAdapter(dict[str, TensorClaim])


def read_structure(path: Path) -> CheckpointStructure:
    """Tell a file's structure without reading its tensors.

    Raises `NernError` with the code `empty_checkpoint`, `not_a_checkpoint` or `unreadable_checkpoint`.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise NernError("empty_checkpoint", "The checkpoint is an empty file; send a .safetensors or .pt file.")
        head = file.read(_HEAD_BYTES)
        if head.startswith(_ZIP_MAGIC):
            return CheckpointStructure(CheckpointFormat.TORCH_ZIP, None)
        if head.startswith(_PICKLE_MAGIC) and _LEGACY_MAGIC in head:
            return CheckpointStructure(CheckpointFormat.TORCH_LEGACY, None)
        if len(head) > 8 and head[8:9] == b"{":
            return CheckpointStructure(CheckpointFormat.SAFETENSORS, _read_header(file, size))
    raise NernError(
        "not_a_checkpoint",
        "The file is neither a safetensors nor a torch checkpoint; save the network's state_dict() with "
        "safetensors or torch.save and send that.",
    )


def refuse_without_kernels(structure: CheckpointStructure, kernels: Sequence[str], hidden_size: int | None) -> None:
    """Raise `NernError` (`no_kernels`, `unmatched_pattern`) if the policy `kernels` finds nothing to represent.

    Does nothing where the tensors are not known.
    """
    if structure.tensors is not None:
        tensors = strip_prefixes(structure.tensors)
        shapes = {name: claim.shape for name, claim in tensors.items() if claim.dtype in _FLOATING_POINT}
        choose_tensors(shapes, kernels, hidden_size)


def strip_prefixes(tensors: Mapping[str, T]) -> dict[str, T]:
    """Remove the prefixes that data-parallel and compile wrappers put before every name."""
    stripped = dict(tensors)
    while prefix := next((p for p in _WRAPPER_PREFIXES if stripped and all(n.startswith(p) for n in stripped)), None):
        stripped = {name.removeprefix(prefix): tensor for name, tensor in stripped.items()}
    return stripped


def _read_header(file: BinaryIO, size: int) -> dict[str, TensorClaim]:
    """Parse the JSON header: 8 bytes of length, the header, the data, without gaps and to the last byte."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(_LARGEST_HEADER, size - 8):
        raise _damaged("its header is longer than the file or than 10 MiB")
    try:
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        tensors = _TENSORS.validate_python(header)
    except (ValueError, RecursionError, AttributeError, ValidationError) as error:
        raise _damaged("its header is not a table of tensors") from error
    end = 0
    for first, last in sorted(claim.data_offsets for claim in tensors.values()):
        if first != end or last < first:
            raise _damaged("its tensors overlap or leave gaps")
        end = last
    if 8 + length + end != size:
        raise _damaged(f"it has {size - 8 - length} bytes of data where its header declares {end}")
    return tensors


def _damaged(reason: str) -> NernError:
    return NernError("unreadable_checkpoint", f"The safetensors file is damaged: {reason}.")
