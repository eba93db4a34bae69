"""Read the header of a safetensors file, strictly and one tensor at a time. Torch-free.

The format allows headers of 100 MB, and JSON readers keep the last of two equal keys; both are rejected here. Only one
tensor's entry at a time is built from the JSON, so that a header takes no more memory than its claims.
"""

import json
import os
import re
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, Final

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from nern_core.contract.errors import NernError, quoted
from nern_core.formats.tensor_claims import (
    ITEM_BYTES,
    LARGEST_SIZE,
    MOST_TENSORS,
    TensorClaim,
    check_name,
    is_shape,
    too_many_tensors,
)

LARGEST_HEADER: Final = 10 * 2**20
# Limit for files whose metadata are read, because these are parsed as a whole.
_LARGEST_HEADER_WITH_METADATA = 64 * 2**10
_LENGTH_BYTES = 8
_STRING = r'"(?:[^"\\\x00-\x1f]++|\\.)*+"'
_TENSOR = r"\{[^{}]{1,2000}\}"
# White space of JSON, less than that of Unicode.
_SPACES = r"[ \t\n\r]*+"
_METADATA = rf"\{{{_SPACES}(?:{_STRING}{_SPACES}:{_SPACES}{_STRING}{_SPACES},?{_SPACES})*+\}}"
# Metadata first, because a table of strings also matches the pattern of a tensor.
_ENTRY = re.compile(rf"{_SPACES}({_STRING}){_SPACES}:{_SPACES}(?:{_METADATA}|({_TENSOR})){_SPACES}([,}}])")


class DamagedFile(NernError):
    """A file that is not a complete safetensors file; `reason` is the end of a sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__("unreadable_checkpoint", f"The safetensors file is damaged: {reason}; save it again.")
        self.reason = reason


_Offset = Annotated[int, Field(ge=0, le=LARGEST_SIZE)]


class _Entry(BaseModel):
    """A tensor as declared in the header."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dtype: str
    shape: list[NonNegativeInt]
    data_offsets: tuple[_Offset, _Offset]


def read_header(file: BinaryIO, size: int) -> dict[str, TensorClaim]:
    """Read the tensors by name: 8 bytes of length, the header, the data, without gaps and to the last byte.

    Raises `NernError` with the code `unreadable_checkpoint`, `unsupported_format` or `unsupported_tensor`.
    """
    return {name: claim for name, (claim, _) in read_placed_header(file, size).items()}


def read_placed_header(file: BinaryIO, size: int) -> dict[str, tuple[TensorClaim, int]]:
    """Read the tensors as `read_header` does, each with the position of its first byte in the file."""
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if length > min(LARGEST_HEADER, size - _LENGTH_BYTES):
        raise DamagedFile("its header is longer than the file or than 10 MiB")
    try:
        text = file.read(length).decode()
    except UnicodeDecodeError as error:
        raise DamagedFile("its header is not a table of tensors") from error
    tensors: dict[str, tuple[TensorClaim, int]] = {}
    places = []
    data_start = _LENGTH_BYTES + length
    for name, entry in _entries(text):
        if name in tensors:
            raise DamagedFile(f"it has two tensors {quoted(name)}")
        tensors[name] = _claim(name, entry), data_start + entry.data_offsets[0]
        places.append(entry.data_offsets)
        if len(tensors) > MOST_TENSORS:
            raise too_many_tensors()
    _check_places(places, size - data_start)
    return tensors


def read_metadata(file: BinaryIO) -> dict[str, str]:
    """Return the metadata texts of a file with a small header, which `read_header` has accepted.

    Raises `NernError` (`unreadable_checkpoint`).
    """
    metadata: dict[str, str] = _read_table(file).get("__metadata__", {})
    return metadata


def read_tensor_bytes(file: BinaryIO, name: str) -> bytes:
    """Return a tensor's bytes; the file is as for `read_metadata`. Raises `NernError` (`unreadable_checkpoint`)."""
    start, end = _read_table(file)[name]["data_offsets"]
    # The header was just read to its end, where the data begin.
    file.seek(start, os.SEEK_CUR)
    return file.read(end - start)


def _read_table(file: BinaryIO) -> dict[str, Any]:
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if length > _LARGEST_HEADER_WITH_METADATA:
        raise DamagedFile("its header is longer than 64 KiB")
    try:
        table: dict[str, Any] = json.loads(file.read(length).decode())
    except ValueError as error:
        raise DamagedFile("its header is not a table of tensors") from error
    return table


def _entries(text: str) -> Iterator[tuple[str, _Entry]]:
    """Yield the tensors of the table one by one; `__metadata__` is skipped."""
    text = text.rstrip(" ")
    at, separator, has_metadata = 1, "{" if re.fullmatch(rf"\{{{_SPACES}\}}", text) is None else "}", False
    while separator != "}":
        found = _ENTRY.match(text, at)
        if found is None:
            raise DamagedFile("its header is not a table of tensors")
        at, separator = found.end(), found[3]
        try:
            name = json.loads(found[1])
            entry = None if found[2] is None else _Entry.model_validate_json(found[2])
        except (ValueError, ValidationError) as error:
            raise DamagedFile("its header is not a table of tensors") from error
        if entry is not None and name != "__metadata__":
            yield name, entry
        elif entry is None and name == "__metadata__" and not has_metadata:
            has_metadata = True
        else:
            raise DamagedFile("its header is not a table of tensors")
    if at > 1 and at != len(text):
        raise DamagedFile("its header is not a table of tensors")


def _claim(name: str, entry: _Entry) -> TensorClaim:
    check_name(name)
    if entry.dtype not in ITEM_BYTES:
        raise NernError(
            "unsupported_tensor",
            f"Tensor {quoted(name)} has the dtype {quoted(entry.dtype)}; save it as float32 or another common dtype.",
        )
    shape = tuple(entry.shape)
    if not is_shape(shape):
        raise NernError(
            "unsupported_tensor", f"Tensor {quoted(name)} has an impossible shape; save at most 8 dimensions."
        )
    claim = TensorClaim(entry.dtype, shape)
    first, last = entry.data_offsets
    if claim.logical_bytes != last - first:
        raise DamagedFile(f"its tensor {quoted(name)} has {last - first} bytes instead of {claim.logical_bytes}")
    return claim


def _check_places(places: list[tuple[int, int]], data_bytes: int) -> None:
    end = 0
    for first, last in sorted(places):
        if first != end:
            raise DamagedFile("its tensors overlap or leave gaps")
        end = last
    if end != data_bytes:
        raise DamagedFile(f"it has {data_bytes} bytes of data, but its header declares {end}")
