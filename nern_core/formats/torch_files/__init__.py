"""Read checkpoints of torch.save without torch and without running any of their code.

A file is turned into descriptions: the dtype, shape and strides of every tensor, and the offset of its bytes in the
file.
"""

import os
from dataclasses import dataclass
from typing import BinaryIO

from pydantic import JsonValue

from nern_core.formats.tensor_claims import ITEM_BYTES, TensorClaim, check_expansion
from nern_core.formats.torch_files.descriptions import LeftBehind
from nern_core.formats.torch_files.legacy_format import read_legacy
from nern_core.formats.torch_files.problems import LOADED, executable, quoted
from nern_core.formats.torch_files.state_dict import find_state_dict
from nern_core.formats.torch_files.weights_key import weights_expression
from nern_core.formats.torch_files.zip_format import read_zip

__all__ = ["TorchFile", "TorchTensor", "read_torch_file"]


@dataclass(frozen=True, slots=True)
class TorchTensor:
    """A tensor of the file: `start` is the position of its first value; `stride` and `extent` count values."""

    claim: TensorClaim
    stride: tuple[int, ...]
    start: int
    extent: int


@dataclass(frozen=True, slots=True)
class TorchFile:
    """The tensors of the state dict by name, in the order of the file; the other fields are those of `StateDict`."""

    tensors: dict[str, TorchTensor]
    metadata: dict[str, JsonValue] | None
    extra_states: dict[str, JsonValue]
    notes: tuple[str, ...]


def read_torch_file(file: BinaryIO, *, zipped: bool, key: str | None = None) -> TorchFile:
    """Describe the state dict, or the one under `key` if given.

    Raises `NernError` with the code `ambiguous_checkpoint`, `executable_checkpoint`, `no_tensors`, `not_a_checkpoint`,
    `unknown_weights`, `unreadable_checkpoint`, `unsupported_format` or `unsupported_tensor`.
    """
    contents = read_zip(file) if zipped else read_legacy(file)
    if contents.refusal is not None:
        raise executable(contents.refusal, weights_expression(contents.root, LOADED))
    if isinstance(contents.root, LeftBehind):
        what = f"needs {quoted(contents.root.name)} to be loaded, because it holds a whole object"
        raise executable(what, weights_expression(contents.root, LOADED))
    state = find_state_dict(contents.root, key)
    tensors = {
        name: TorchTensor(
            tensor.claim,
            tensor.stride,
            contents.starts[tensor.storage.key] + tensor.offset * ITEM_BYTES[tensor.claim.dtype],
            tensor.extent,
        )
        for name, tensor in state.tensors.items()
    }
    size = file.seek(0, os.SEEK_END)
    check_expansion({name: tensor.claim for name, tensor in tensors.items()}, size)
    return TorchFile(tensors, state.metadata, state.extra_states, state.notes)
