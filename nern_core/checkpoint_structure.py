"""What an uploaded file holds: names, shapes and dtypes, told without reading its tensors. Torch-free.

Nothing in the file is run, and its claims are bounded before they are believed (see `torch_files`,
`safetensors_header` and `tensor_claims`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, TypeVar

from nern_core.errors import NernError
from nern_core.kernel_policy import choose_tensors
from nern_core.safetensors_header import read_header
from nern_core.tensor_claims import TensorClaim
from nern_core.torch_files import read_torch_file

_ZIP_MAGIC = b"PK\x03\x04"
# torch files before version 1.6 start with a pickle of the number 0x1950a86a20f9469cfc6c.
_PICKLE_MAGIC = b"\x80"
_LEGACY_MAGIC = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_LEGACY_MAGIC_WITHIN = 32
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_HEAD_BYTES = 512
_FLOATING_POINT = {"F16", "BF16", "F32", "F64"}
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")
# Each is removed from all names, so that their number has to be small.
_MOST_WRAPPERS = 8

T = TypeVar("T")


class CheckpointFormat(StrEnum):
    """The file formats that a checkpoint may have."""

    SAFETENSORS = "safetensors"
    TORCH_ZIP = "torch"
    TORCH_LEGACY = "torch-legacy"


@dataclass(frozen=True, slots=True)
class CheckpointStructure:
    """Format of a file, and its tensors by name."""

    format: CheckpointFormat
    tensors: Mapping[str, TensorClaim]

    @property
    def logical_bytes(self) -> int:
        """Bytes of the values of all tensors, as if none shared memory with another."""
        return sum(claim.logical_bytes for claim in self.tensors.values())


def read_structure(path: Path) -> CheckpointStructure:
    """Tell a file's structure without reading its tensors. Raises `NernError`, as `structure_of` does."""
    with path.open("rb") as file:
        return structure_of(file)


def structure_of(file: BinaryIO) -> CheckpointStructure:
    """Tell the structure of an open file, wherever it is, from its beginning and a few places in it.

    Raises `NernError` with the code `empty_checkpoint`, `executable_checkpoint`, `no_tensors`, `not_a_checkpoint`,
    `unreadable_checkpoint`, `unsupported_format` or `unsupported_tensor`.
    """
    found = detect_format(file)
    if found is CheckpointFormat.SAFETENSORS:
        return CheckpointStructure(found, read_header(file, file.seek(0, os.SEEK_END)))
    tensors = read_torch_file(file, zipped=found is CheckpointFormat.TORCH_ZIP)
    return CheckpointStructure(found, {name: tensor.claim for name, tensor in tensors.items()})


def detect_format(file: BinaryIO) -> CheckpointFormat:
    """Tell the format from the first bytes.

    Raises `NernError` with the code `empty_checkpoint`, `not_a_checkpoint` or `unsupported_format`.
    """
    head = file.read(_HEAD_BYTES)
    if not head:
        raise NernError("empty_checkpoint", "The checkpoint is an empty file; send a .safetensors or .pt file.")
    if head.startswith(_ZIP_MAGIC):
        return CheckpointFormat.TORCH_ZIP
    if head.startswith(_PICKLE_MAGIC) and _LEGACY_MAGIC in head[:_LEGACY_MAGIC_WITHIN]:
        return CheckpointFormat.TORCH_LEGACY
    if head[8:9] == b"{":
        return CheckpointFormat.SAFETENSORS
    if head[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC):
        raise NernError(
            "unsupported_format",
            "The file is a tar archive, as torch wrote before version 0.1.10 or others pack files; save the network's "
            "state_dict() with a newer torch or with safetensors and send that.",
        )
    raise NernError(
        "not_a_checkpoint",
        "The file is neither a safetensors nor a torch checkpoint; save the network's state_dict() with "
        "safetensors or torch.save and send that.",
    )


def refuse_without_kernels(
    structure: CheckpointStructure, kernels: Sequence[str], hidden_size: int | None, kernels_per_coordinate: int = 1
) -> None:
    """Raise `NernError` (`no_kernels`, `unmatched_pattern`, `too_many_patterns`) if `kernels` takes nothing."""
    tensors = strip_prefixes(structure.tensors)
    shapes = {name: claim.shape for name, claim in tensors.items() if claim.dtype in _FLOATING_POINT}
    choose_tensors(shapes, kernels, hidden_size, kernels_per_coordinate)


def strip_prefixes(tensors: Mapping[str, T]) -> dict[str, T]:
    """Remove the prefixes that data-parallel and compile wrappers put before every name."""
    stripped = dict(tensors)
    for _ in range(_MOST_WRAPPERS):
        prefix = next((p for p in _WRAPPER_PREFIXES if stripped and all(n.startswith(p) for n in stripped)), None)
        if prefix is None:
            break
        stripped = {name.removeprefix(prefix): tensor for name, tensor in stripped.items()}
    return stripped
