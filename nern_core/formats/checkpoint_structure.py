"""Read names, shapes and dtypes of an uploaded file's tensors, without reading the tensors. Torch-free.

Nothing in the file is run, and its claims are checked against limits before they are used (see `torch_files`,
`onnx_files`, `safetensors_header` and `tensor_claims`).
"""

import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from nern_core.contract.errors import NernError, quoted
from nern_core.contract.kernel_policy import choose_tensors
from nern_core.formats.checkpoint_format import HEAD_BYTES, CheckpointFormat, format_of
from nern_core.formats.encoding_structure import is_marked_as_encoding
from nern_core.formats.hub_folder import HubFolder, hub_archive, hub_folder_at, is_hub_archive
from nern_core.formats.onnx_files import folder_of_values, read_onnx_file
from nern_core.formats.other_formats import other_format
from nern_core.formats.plain_names import plain_names
from nern_core.formats.safetensors_header import read_header
from nern_core.formats.tensor_claims import TORCH_DTYPES, TensorClaim
from nern_core.formats.torch_files import read_torch_file
from nern_core.formats.torch_files.zip_archive import read_names

# The code of the error for a `.nern` file in place of a checkpoint.
ALREADY_ENCODED: Final = "already_encoded"
_ALREADY_ENCODED = (
    "This is a .nern file already, not a checkpoint; `nern reconstruct` (POST /reconstructions) makes weights of it."
)
_FLOATING_POINT = {"F16", "BF16", "F32", "F64"}
_OTHER_DTYPES = {dtype: name for dtype, name in TORCH_DTYPES.items() if dtype not in _FLOATING_POINT}


@dataclass(frozen=True, slots=True)
class CheckpointStructure:
    """Format of a file, its tensors by name, and notes on which of its state dicts was selected.

    `graph_bytes` are those of an ONNX file besides its tensors.
    """

    format: CheckpointFormat
    tensors: Mapping[str, TensorClaim]
    notes: tuple[str, ...] = ()
    graph_bytes: int = 0

    @property
    def logical_bytes(self) -> int:
        """Return the bytes of the values of all tensors, as if no two shared memory."""
        return sum(claim.logical_bytes for claim in self.tensors.values())


def read_structure(path: Path, key: str | None = None) -> CheckpointStructure:
    """Read the structure of a file, or of a folder of the hub, without reading its tensors.

    Raises `NernError`, as `structure_of` does.
    """
    found = hub_folder_at(path)
    if found is not None:
        return _structure_of_folder(found, key)
    with open_checkpoint(path) as file:
        return structure_of(file, key, folder_of_values(path))


def structure_of(file: BinaryIO, key: str | None = None, beside: Path | None = None) -> CheckpointStructure:
    """Read the structure of an open file, at any position, from its beginning and a few places in it.

    `key` is a dotted path to the state dict, or the prefix of the names of the wanted tensors. `beside` is the folder
    that may hold the values of an ONNX file. Raises `NernError` with the code
    `already_encoded`, `ambiguous_checkpoint`, `empty_checkpoint`, `executable_checkpoint`, `no_tensors`,
    `not_a_checkpoint`, `unknown_weights`, `unreadable_checkpoint`, `unsupported_format` or `unsupported_tensor`.
    """
    folder = archived_folder(file)
    return _structure_of_file(file, key, beside) if folder is None else _structure_of_folder(folder, key)


def archived_folder(file: BinaryIO) -> HubFolder | None:
    """Return the folder of the hub in an open zip archive; None for any other file. Raises `NernError`."""
    found = detect_format(file)
    return hub_archive(file) if found is CheckpointFormat.TORCH_ZIP and is_hub_archive(read_names(file)) else None


def _structure_of_folder(folder: HubFolder, key: str | None) -> CheckpointStructure:
    """Read the structure of all files of a folder together."""
    folder.config()
    alone = len(folder.shards) == 1
    parts: dict[str, CheckpointStructure] = {}
    for shard in folder.shards:
        with folder.open(shard) as file:
            parts[shard] = _structure_of_file(file, key if alone else None)
    folder.refuse_other_tensors({} if alone and key else {shard: part.tensors for shard, part in parts.items()})
    tensors = {name: claim for part in parts.values() for name, claim in part.tensors.items()}
    notes = tuple(note for part in parts.values() for note in part.notes)
    names = names_under(tensors, None if alone else key)
    return CheckpointStructure(CheckpointFormat.HUB_FOLDER, {name: tensors[name] for name in names}, notes)


def _structure_of_file(file: BinaryIO, key: str | None, beside: Path | None = None) -> CheckpointStructure:
    found = detect_format(file)
    if found is CheckpointFormat.SAFETENSORS:
        claims = read_header(file, file.seek(0, os.SEEK_END))
        if is_marked_as_encoding(file, claims):
            raise NernError(ALREADY_ENCODED, _ALREADY_ENCODED)
        return CheckpointStructure(found, {name: claims[name] for name in names_under(claims, key)})
    if found is CheckpointFormat.ONNX:
        refuse_key(key)
        onnx = read_onnx_file(file, beside)
        weights = {name: weight.claim for name, weight in onnx.weights.items()}
        return CheckpointStructure(found, weights, graph_bytes=onnx.graph_bytes)
    read = read_torch_file(file, zipped=found is CheckpointFormat.TORCH_ZIP, key=key)
    return CheckpointStructure(found, {name: tensor.claim for name, tensor in read.tensors.items()}, read.notes)


def refuse_unreadable(file: BinaryIO) -> None:
    """Raise `NernError`, as `structure_of` does, unless the file is a checkpoint; one that needs a `key` is valid."""
    try:
        structure_of(file)
    except NernError as error:
        if error.code != "ambiguous_checkpoint":
            raise


def names_under(names: Collection[str], key: str | None) -> list[str]:
    """List the names that begin with `key` and a dot, or all without a key. Raises `NernError` (`unknown_weights`)."""
    if key is None:
        return list(names)
    found = [name for name in names if name.startswith(f"{key}.")]
    if not found:
        raise NernError(
            "unknown_weights",
            f"The checkpoint has no tensors whose names begin with {quoted(f'{key}.')}; omit `key`.",
        )
    return found


def refuse_key(key: str | None) -> None:
    """Raise `NernError` (`unknown_weights`) for a key into an ONNX file."""
    if key is not None:
        raise NernError("unknown_weights", "An ONNX file holds the weights of one network; omit `key`.")


def refuse_own_architecture(name: str | None) -> None:
    """Raise `NernError` (`own_architecture`) for an architecture beside an ONNX file."""
    if name is not None:
        raise NernError("own_architecture", "An ONNX file holds its architecture itself; omit `architecture`.")


@contextmanager
def open_checkpoint(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading. Raises `NernError` (`not_a_checkpoint`) for a folder, a pipe or a device."""
    if path.is_dir():
        raise NernError(
            "not_a_checkpoint",
            f"'{path.name}' is a folder; name the file in it that holds the weights, such as model.safetensors.",
        )
    if path.exists() and not path.is_file():
        raise NernError(
            "not_a_checkpoint", f"'{path.name}' is a pipe or a device; write its content to a file and use that."
        )
    with path.open("rb") as file:
        yield file


def detect_format(file: BinaryIO) -> CheckpointFormat:
    """Detect the format from the first bytes.

    Raises `NernError` with the code `empty_checkpoint`, `not_a_checkpoint` or `unsupported_format`.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head:
        raise NernError("empty_checkpoint", "The checkpoint is an empty file; use a .safetensors or .pt file.")
    if (found := format_of(head)) is not None:
        return found
    if (other := other_format(head)) is not None:
        raise other
    raise NernError(
        "not_a_checkpoint",
        "The file is neither a safetensors nor a torch checkpoint, nor an ONNX file; save the network's "
        "state_dict() with safetensors or torch.save and use that.",
    )


def refuse_without_kernels(
    structure: CheckpointStructure, kernels: Sequence[str], hidden_size: int | None, kernels_per_coordinate: int = 1
) -> None:
    """Raise `NernError` (`no_kernels`, `unmatched_pattern`, `too_many_patterns`) if `kernels` selects no tensor."""
    represented_shapes(structure, kernels, hidden_size, kernels_per_coordinate)


def represented_shapes(
    structure: CheckpointStructure, kernels: Sequence[str], hidden_size: int | None, kernels_per_coordinate: int = 1
) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors that `kernels` selects. Raises `NernError` as `refuse_without_kernels` does."""
    plain = plain_names(structure.tensors)
    shapes = {plain[name]: claim.shape for name, claim in structure.tensors.items() if claim.dtype in _FLOATING_POINT}
    others: Counter[str] = Counter()
    for claim in structure.tensors.values():
        if claim.dtype not in _FLOATING_POINT and len(claim.shape) > 1:
            others[_OTHER_DTYPES.get(claim.dtype, claim.dtype)] += math.prod(claim.shape)
    chosen = choose_tensors(shapes, kernels, hidden_size, kernels_per_coordinate, dict(others.most_common(1)))
    return [shapes[name] for name in chosen]


def no_tensors() -> NernError:
    """Make the error for a checkpoint without tensors."""
    return NernError(
        "no_tensors", "The checkpoint holds no named tensors; save the network's state_dict() and use that."
    )
