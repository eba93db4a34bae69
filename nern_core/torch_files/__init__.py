"""Checkpoints of torch.save, read without torch and without running anything that they ask for.

A file is turned into descriptions: of every tensor its dtype, shape and strides, and where in the file its bytes lie.
"""

import os
from dataclasses import dataclass
from typing import BinaryIO

from nern_core.tensor_claims import ITEM_BYTES, TensorClaim, check_expansion
from nern_core.torch_files.legacy_format import read_legacy
from nern_core.torch_files.state_dict import find_state_dict
from nern_core.torch_files.zip_format import read_zip

__all__ = ["TorchTensor", "read_torch_file"]


@dataclass(frozen=True, slots=True)
class TorchTensor:
    """A tensor of the file: `start` is the position of its first value, `stride` and `extent` count values."""

    claim: TensorClaim
    stride: tuple[int, ...]
    start: int
    extent: int


def read_torch_file(file: BinaryIO, *, zipped: bool) -> dict[str, TorchTensor]:
    """Describe the tensors of the state dict by name, in the order of the file.

    Raises `NernError` with the code `executable_checkpoint`, `no_tensors`, `not_a_checkpoint`,
    `unreadable_checkpoint`, `unsupported_format` or `unsupported_tensor`.
    """
    contents = read_zip(file) if zipped else read_legacy(file)
    tensors = {
        name: TorchTensor(
            tensor.claim,
            tensor.stride,
            contents.starts[tensor.storage.key] + tensor.offset * ITEM_BYTES[tensor.claim.dtype],
            tensor.extent,
        )
        for name, tensor in find_state_dict(contents.root).items()
    }
    size = file.seek(0, os.SEEK_END)
    check_expansion({name: tensor.claim for name, tensor in tensors.items()}, size)
    return tensors
