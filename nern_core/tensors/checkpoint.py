"""Checkpoints: read `.safetensors`, torch and ONNX files and folders of the hub into tensors, and write the formats.

Published checkpoints are messy: the weights sit under `state_dict` or `model` beside epochs and scores, and names carry
the `module.` prefix of a data-parallel wrapper. Reading returns only the state dict, under the names of the network,
and remembers the names in the file; writing restores them. From a torch file only raw bytes are read, at the offsets
that `torch_files` found, because torch's own reader would run code from the file.
"""

import hashlib
import math
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

import torch
from pydantic import JsonValue
from torch import Tensor

from nern_core.contract.catalogue import NetworkStructure
from nern_core.contract.errors import NernError, quoted
from nern_core.formats.checkpoint_format import CheckpointFormat
from nern_core.formats.checkpoint_structure import (
    archived_folder,
    detect_format,
    names_under,
    no_tensors,
    open_checkpoint,
    refuse_key,
    refuse_own_architecture,
    structure_of,
)
from nern_core.formats.hub_folder import HubFolder, hub_folder_at
from nern_core.formats.plain_names import plain_names
from nern_core.formats.plain_values import from_json
from nern_core.formats.safetensors_header import read_placed_header
from nern_core.formats.tensor_claims import TORCH_DTYPES, TensorClaim
from nern_core.formats.torch_files import TorchTensor, read_torch_file
from nern_core.tensors.name_matching import match_names
from nern_core.tensors.onnx_files import read_onnx, write_onnx
from nern_core.tensors.safetensors_files import write_safetensors

_DTYPES: Final = {dtype: getattr(torch, name) for dtype, name in TORCH_DTYPES.items()}
# Smaller tensors are equal by chance as often as by design, and cost almost nothing.
_FEWEST_TIED_VALUES = 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Named tensors of a network, contiguous, on the CPU, in the order of the network's layers.

    If a file keeps no order (safetensors sorts), the order is the natural order of the names. `file_names` maps names
    in `tensors` to names in the file where the two differ. `metadata` holds the versions of the network's modules (the
    `_metadata` of a state dict), and `extra_states` the entries `_extra_state` that are not tensors; both use the names
    in the file and are written as in `plain_values`. `config` is the `config.json` of a folder of the hub, and `graph`
    an ONNX file without its weights. `notes` are sentences about decisions made while reading the file.
    """

    tensors: dict[str, Tensor]
    file_names: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, JsonValue] | None = None
    extra_states: Mapping[str, JsonValue] = field(default_factory=dict)
    config: Mapping[str, JsonValue] | None = None
    graph: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def tensor_bytes(self) -> int:
        """Return the bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def named_as_in_file(self) -> dict[str, Tensor]:
        """Return the tensors under their names in the file."""
        return {self.file_names.get(name, name): tensor for name, tensor in self.tensors.items()}

    def renamed(self, names: Mapping[str, str], notes: tuple[str, ...] = ()) -> "Checkpoint":
        """Rename tensors: `names` maps names in the file to new ones; the others keep the file's names."""
        tensors = self.named_as_in_file()
        return replace(
            self,
            tensors={names.get(name, name): tensor for name, tensor in tensors.items()},
            file_names={names[name]: name for name in tensors if names.get(name, name) != name},
            notes=self.notes + notes,
        )


def read_checkpoint(path: Path, key: str | None = None, network: NetworkStructure | None = None) -> Checkpoint:
    """Read a `.safetensors`, torch (`.pt`, `.pth`, `.th`) or ONNX file; the content decides the format, not the suffix.

    A folder of the hub, the index of its shards, or a zip archive of it is read whole (see `formats.hub_folder`). `key`
    says where in the file the weights are. The names are those of the `network` or, without one, those of the file
    without the prefixes of wrappers. Raises `NernError` with the code `architecture_mismatch`, `no_tensors` or
    another code of `read_structure`.
    """
    checkpoint = _read(path, key)
    if not checkpoint.tensors:
        raise no_tensors()
    if checkpoint.graph is not None:
        refuse_own_architecture(None if network is None else network.name)
        return checkpoint
    if network is None:
        return checkpoint.renamed(plain_names(checkpoint.tensors))
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.named_as_in_file().items()}
    match = match_names(shapes, network)
    return checkpoint.renamed(match.names, match.changes)


def find_tied(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Find tensors that repeat an earlier one bit for bit, in shape, dtype and values.

    Returns a mapping from each repeating name to the first name with these values. Weights that a network shares
    between layers are such tensors, because a checkpoint lists them once per layer. The tensors must be contiguous and
    on the CPU.
    """
    alike: dict[tuple[torch.dtype, torch.Size], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel() >= _FEWEST_TIED_VALUES:
            alike.setdefault((tensor.dtype, tensor.shape), []).append(name)
    tied = {}
    for names in alike.values():
        first: dict[bytes, str] = {}
        for name in names if len(names) > 1 else ():
            repeated = first.setdefault(_digest(tensors[name]), name)
            if repeated != name:
                tied[name] = repeated
    return tied


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a state dict under the names in the file that it was read from.

    Safetensors files hold only the tensors; torch files, for the suffixes `.pt`, `.pth` and `.th`, also hold the extra
    states and the `_metadata`; ONNX files, for `.onnx`, the graph. Raises `NernError`: `unknown_format` for any other
    suffix, `no_graph` for an ONNX file of weights that were not in one.
    """
    tensors = checkpoint.named_as_in_file()
    if path.suffix == ".safetensors":
        # safetensors rejects tensors that share memory or have strides.
        write_safetensors(separate(tensors), path)
    elif path.suffix in {".pt", ".pth", ".th"}:
        with path.open("wb") as file:
            torch.save(_state_dict(checkpoint, tensors), file)
    elif path.suffix == ".onnx":
        if checkpoint.graph is None:
            raise NernError(
                "no_graph", "These weights are not from an ONNX file; name the file *.safetensors or *.pt instead."
            )
        write_onnx(checkpoint.graph, tensors, path)
    else:
        raise NernError(
            "unknown_format", f"Cannot write '{path.name}': name the file *.safetensors or *.pt to choose its format."
        )


def _state_dict(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> Mapping[str, object]:
    """Build the argument of `load_state_dict`: an OrderedDict with an attribute `_metadata`, if the file had one."""
    entries = {**tensors, **{name: from_json(value) for name, value in checkpoint.extra_states.items()}}
    if checkpoint.metadata is None:
        return entries
    state = OrderedDict(entries)
    versions = OrderedDict((name, from_json(version)) for name, version in checkpoint.metadata.items())
    state._metadata = versions  # type: ignore[attr-defined] # noqa: SLF001 # where torch keeps it
    return state


def _read(path: Path, key: str | None) -> Checkpoint:
    """Read a file or folder, with the names in it."""
    folder = hub_folder_at(path)
    if folder is not None:
        return _read_folder(folder, key)
    with open_checkpoint(path) as file:
        folder = archived_folder(file)
        if folder is not None:
            return _read_folder(folder, key)
        found = detect_format(file)
        if found is CheckpointFormat.SAFETENSORS:
            # Also finds what is a safetensors file, but no checkpoint.
            structure_of(file)
        return _read_onnx(file, path, key) if found is CheckpointFormat.ONNX else _read_open(file, key)


def _read_folder(folder: HubFolder, key: str | None) -> Checkpoint:
    """Read all files with tensors; those of one torch file keep its extra states."""
    alone = len(folder.shards) == 1
    parts: dict[str, Checkpoint] = {}
    for shard in folder.shards:
        with folder.open(shard) as file:
            parts[shard] = _read_open(file, key if alone else None)
    folder.refuse_other_tensors({} if alone and key else {shard: part.tensors for shard, part in parts.items()})
    config = folder.config()
    if alone:
        return replace(parts[folder.shards[0]], config=config)
    tensors = {name: tensor for part in parts.values() for name, tensor in part.tensors.items()}
    names = sorted(names_under(tensors, key), key=_natural_order)
    notes = tuple(note for part in parts.values() for note in part.notes)
    return Checkpoint({name: tensors[name] for name in names}, config=config, notes=notes)


def _read_open(file: BinaryIO, key: str | None) -> Checkpoint:
    """Read an open file, such as an entry of an archive."""
    found = detect_format(file)
    if found is not CheckpointFormat.SAFETENSORS:
        return _read_torch(file, zipped=found is CheckpointFormat.TORCH_ZIP, key=key)
    placed = read_placed_header(file, file.seek(0, os.SEEK_END))
    names = sorted(names_under(placed, key), key=_natural_order)
    return Checkpoint({name: _read_tensor(file, name, _contiguous(*placed[name])) for name in names})


def _contiguous(claim: TensorClaim, start: int) -> TorchTensor:
    """Describe a tensor of a safetensors file in the words of torch files."""
    strides = [1]
    for size in reversed(claim.shape[1:]):
        strides.append(strides[-1] * size)
    values = math.prod(claim.shape)
    return TorchTensor(claim, tuple(reversed(strides[: len(claim.shape)])), start, values)


def _read_onnx(file: BinaryIO, path: Path, key: str | None) -> Checkpoint:
    refuse_key(key)
    tensors, file_names, graph = read_onnx(file, path)
    return Checkpoint(tensors, file_names=file_names, graph=graph)


def _read_torch(file: BinaryIO, *, zipped: bool, key: str | None) -> Checkpoint:
    described = read_torch_file(file, zipped=zipped, key=key)
    return Checkpoint(
        tensors={name: _read_tensor(file, name, tensor) for name, tensor in described.tensors.items()},
        metadata=described.metadata,
        extra_states=described.extra_states,
        notes=described.notes,
    )


def _read_tensor(file: BinaryIO, name: str, described: TorchTensor) -> Tensor:
    """Copy the values of a tensor out of the file, contiguous."""
    claim, dtype = described.claim, _DTYPES[described.claim.dtype]
    if not described.extent:
        return torch.empty(claim.shape, dtype=dtype)
    data = torch.empty(described.extent * dtype.itemsize, dtype=torch.uint8)
    file.seek(described.start)
    if file.readinto(data.numpy()) != data.numel():  # type: ignore[attr-defined] # all binary files have it
        raise NernError("unreadable_checkpoint", f"The file ends within tensor {quoted(name)}; use a complete copy.")
    # The file may hold bytes other than 0 and 1 for a bool.
    values = data.ne(0) if dtype is torch.bool else data.view(dtype)
    return values.as_strided(claim.shape, described.stride).contiguous()


def separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous copies, each in its own memory."""
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _digest(tensor: Tensor) -> bytes:
    return hashlib.sha256(tensor.view(torch.uint8).numpy().data).digest()


def _natural_order(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts `layer10` after `layer9`; digits such as `²` do not count as numbers."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]
