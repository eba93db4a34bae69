"""Read the tensors of a `.nern` file as bytes. Torch-free."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nern_core.contract.errors import NernError
from nern_core.formats.encoding_structure import check_open_encoding
from nern_core.formats.safetensors_header import read_placed_header
from nern_core.formats.tensor_claims import ITEM_BYTES as BYTES_OF_DTYPES

# torch's names of dtypes by those of safetensors.
DTYPES: Final = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
# By torch's names.
ITEM_BYTES: Final = {DTYPES[dtype]: size for dtype, size in BYTES_OF_DTYPES.items()}


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
                stored[name] = StoredTensor(DTYPES[claim.dtype], claim.shape, file.read(claim.logical_bytes))
    except OSError as error:
        raise NernError("not_an_encoding", f"{called} is not a .nern file: {error}.") from error
    return stored
