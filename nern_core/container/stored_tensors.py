"""Read the tensors of a `.nern` file as bytes. Torch-free."""

import os
from dataclasses import dataclass
from pathlib import Path

from nern_core.contract.errors import NernError
from nern_core.formats.encoding_structure import check_open_encoding
from nern_core.formats.safetensors_header import read_placed_header
from nern_core.formats.tensor_claims import TORCH_DTYPES


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """The bytes of a tensor, its shape, and torch's name of its dtype."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def read_stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Read all tensors of a file, and check the file. Raises `NernError` as `check_open_encoding` does."""
    called = f"'{path.name}'"
    try:
        with path.open("rb") as file:
            check_open_encoding(file, called)
            placed = read_placed_header(file, file.seek(0, os.SEEK_END))
            stored = {}
            for name, (claim, start) in placed.items():
                file.seek(start)
                stored[name] = StoredTensor(TORCH_DTYPES[claim.dtype], claim.shape, file.read(claim.logical_bytes))
    except OSError as error:
        raise NernError("not_an_encoding", f"{called} is not a .nern file: {error}.") from error
    return stored
