"""The header of a safetensors file, read strictly and one tensor at a time. Torch-free.

The format allows headers of 100 MB, and JSON readers keep the last of two equal keys; here both are refused. Nothing
but one tensor's entry is ever built from the JSON, so that a header takes no more memory than the claims in it.
"""

import json
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from nern_core.errors import NernError, quoted
from nern_core.tensor_claims import ITEM_BYTES, MOST_TENSORS, TensorClaim, check_name, is_shape, too_many_tensors

LARGEST_HEADER: Final = 10 * 2**20
# Of a file whose metadata are wanted: they are built as a whole.
_LARGEST_HEADER_WITH_METADATA = 64 * 2**10
_LENGTH_BYTES = 8
_STRING = r'"(?:[^"\\\x00-\x1f]++|\\.)*+"'
_TENSOR = r"\{[^{}]{1,2000}\}"
_METADATA = rf"\{{\s*+(?:{_STRING}\s*+:\s*+{_STRING}\s*+,?\s*+)*+\}}"
# Texts alone come first, since a table of them has the form of a tensor too.
_ENTRY = re.compile(rf"\s*+({_STRING})\s*+:\s*+(?:{_METADATA}|({_TENSOR}))\s*+([,}}])")


class DamagedFile(NernError):
    """A file that is no whole safetensors file; `reason` says why, as the end of a sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__("unreadable_checkpoint", f"The safetensors file is damaged: {reason}; save it again.")
        self.reason = reason


class _Entry(BaseModel):
    """One tensor as the header declares it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dtype: str
    shape: list[NonNegativeInt]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


def read_header(file: BinaryIO, size: int) -> dict[str, TensorClaim]:
    """The tensors by name: 8 bytes of length, the header, the data, without gaps and to the last byte.

    Raises `NernError` with the code `unreadable_checkpoint`, `unsupported_format` or `unsupported_tensor`.
    """
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if length > min(LARGEST_HEADER, size - _LENGTH_BYTES):
        raise DamagedFile("its header is longer than the file or than 10 MiB")
    try:
        text = file.read(length).decode()
    except UnicodeDecodeError as error:
        raise DamagedFile("its header is not a table of tensors") from error
    tensors: dict[str, TensorClaim] = {}
    places = []
    for name, entry in _entries(text):
        if name in tensors:
            raise DamagedFile(f"it has two tensors {quoted(name)}")
        tensors[name] = _claim(name, entry)
        places.append(entry.data_offsets)
        if len(tensors) > MOST_TENSORS:
            raise too_many_tensors()
    _check_places(places, size - _LENGTH_BYTES - length)
    return tensors


def read_metadata(file: BinaryIO) -> dict[str, str]:
    """The texts beside the tensors, of a file with a small header that `read_header` has found right.

    Raises `NernError` (`unreadable_checkpoint`).
    """
    metadata: dict[str, str] = _read_table(file).get("__metadata__", {})
    return metadata


def read_tensor_bytes(file: BinaryIO, name: str) -> bytes:
    """The bytes of a tensor, of a file as `read_metadata` takes it. Raises `NernError` (`unreadable_checkpoint`)."""
    start, end = _read_table(file)[name]["data_offsets"]
    # The header has just been read to its end, where the data begin.
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
    """The tensors of the table one after another; `__metadata__` is left behind."""
    text = text.rstrip(" ")
    at, separator, has_metadata = 1, "{" if re.fullmatch(r"\{\s*\}", text) is None else "}", False
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
        raise DamagedFile(f"its tensor {quoted(name)} has {last - first} bytes for {claim.logical_bytes}")
    return claim


def _check_places(places: list[tuple[int, int]], data_bytes: int) -> None:
    end = 0
    for first, last in sorted(places):
        if first != end:
            raise DamagedFile("its tensors overlap or leave gaps")
        end = last
    if end != data_bytes:
        raise DamagedFile(f"it has {data_bytes} bytes of data where its header declares {end}")
