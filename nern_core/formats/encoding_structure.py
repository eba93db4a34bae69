"""Check a `.nern` file and read its structure without decoding it. Torch-free.

The file is a safetensors file. Its metadata entry `nern` holds the format version and a checksum; its tensor `document`
holds everything else that decoding needs besides the other tensors.
"""

import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, BinaryIO, Final, TypeVar

from pydantic import BaseModel, Field, ValidationError

from nern_core.contract.errors import NernError
from nern_core.formats.checkpoint_format import HEAD_BYTES, CheckpointFormat, format_of
from nern_core.formats.checksum import is_intact
from nern_core.formats.decoded_extent import check_decoded_extent
from nern_core.formats.document_text import LARGEST_DOCUMENT, inflate_document
from nern_core.formats.graph_compression import measure_graph
from nern_core.formats.safetensors_header import DamagedFile, read_header, read_metadata, read_tensor_bytes
from nern_core.formats.tensor_claims import TORCH_ITEM_BYTES, Shape

# Each file has the lowest version that its contents need.
FORMAT_VERSION: Final = 5
OLDEST_VERSION: Final = 4
# Of files that hold a graph, which earlier versions of this package would take for damage.
VERSION_WITH_GRAPH: Final = 6
# Of files whose quantized layers are coded in lanes.
VERSION_WITH_LANES: Final = 7
NEWEST_VERSION: Final = VERSION_WITH_LANES
# Larger numbers are damage, and too long for a message.
_LARGEST_VERSION = 2**31 - 1
METADATA_KEY: Final = "nern"
VERSION: Final = "format_version"
DOCUMENT: Final = "document"
GRAPH: Final = "graph"
# Of an unknown dtype.
_LARGEST_ITEM_BYTES: Final = 16
Contents = TypeVar("Contents", bound=BaseModel)


class _Version(BaseModel):
    """The part of the metadata that all formats have."""

    format_version: Annotated[int, Field(ge=0, le=_LARGEST_VERSION)]


def check_encoding_structure(path: Path, called: str = "The file") -> None:
    """Check a file. Raises `NernError`, as `check_open_encoding` does."""
    with path.open("rb") as file:
        check_open_encoding(file, called)


def check_open_encoding(file: BinaryIO, called: str = "The file") -> None:
    """Raise `NernError` unless this is a complete `.nern` file of a known format; `called` names the file in messages.

    The code is `not_an_encoding`, `unsupported_version` or `bad_encoding`. Only files that were damaged on purpose
    pass, because the checksum detects all other damage.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head:
        raise NernError("not_an_encoding", f"{called} is an empty file; use a .nern file.")
    if format_of(head) in {CheckpointFormat.TORCH_ZIP, CheckpointFormat.TORCH_LEGACY}:
        raise _is_checkpoint(called, "a torch checkpoint")
    try:
        tensors = read_header(file, file.seek(0, os.SEEK_END))
        metadata = _metadata(file, tensors)
    except DamagedFile as error:
        raise NernError(
            "not_an_encoding", f"{called} is not a .nern file, or it is damaged: {error.reason}."
        ) from error
    except NernError as error:
        raise NernError("not_an_encoding", f"{called} is not a .nern file: {error.message}") from error
    if METADATA_KEY not in metadata:
        raise _is_checkpoint(called, "a checkpoint without `nern` metadata")
    _check_version(metadata[METADATA_KEY], called)
    if not is_intact(file):
        raise NernError("bad_encoding", f"{called} is damaged: its checksum does not match its contents.")
    if tensors[DOCUMENT].dtype != "U8":
        raise NernError("bad_encoding", f"{called} is damaged: it has no document.")
    if tensors[DOCUMENT].logical_bytes > LARGEST_DOCUMENT:
        raise NernError("bad_encoding", f"{called} is damaged: its document is longer than {LARGEST_DOCUMENT:,} bytes.")


def is_encoding(path: Path) -> bool:
    """Return True for `.nern` files, recognized by their suffix or by their metadata."""
    if path.suffix == ".nern":
        return True
    if path.is_dir():
        return False
    try:
        with path.open("rb") as file:
            return is_marked_as_encoding(file, read_header(file, file.seek(0, os.SEEK_END)))
    except NernError:
        return False


def is_marked_as_encoding(file: BinaryIO, tensors: Collection[str]) -> bool:
    """Tell `.nern` files from other safetensors files with these tensors, whole or not, by their metadata."""
    try:
        return METADATA_KEY in _metadata(file, tensors)
    except DamagedFile:
        return False


def _metadata(file: BinaryIO, tensors: Collection[str]) -> dict[str, str]:
    """Read the metadata; those of a checkpoint, which may have a larger header, are left out."""
    return read_metadata(file) if DOCUMENT in tensors else {}


def _is_checkpoint(called: str, what: str) -> NernError:
    return NernError(
        "not_an_encoding",
        f"{called} is {what}, not a .nern file; `nern encode` (POST /jobs) makes a .nern file of it.",
    )


def read_format_version(path: Path) -> int:
    """Return the format version of a file that passed `check_encoding_structure`."""
    with path.open("rb") as file:
        return _Version.model_validate_json(read_metadata(file)[METADATA_KEY]).format_version


def decoded_bytes(file: BinaryIO, called: str = "The file") -> int:
    """Count the bytes of all tensors that a file decodes to; the file must have passed `check_open_encoding`.

    Raises `NernError` (`bad_encoding`), also for more than a file of this size can decode to.
    """
    contents = read_contents(file, _Contents, called)
    tensors = (*contents.document.layers, *contents.kept)
    tied = contents.document.tied.values()
    check_decoded_extent({tensor.name: tensor.values for tensor in tensors}, tied, file.seek(0, os.SEEK_END))
    sizes = {tensor.name: tensor.logical_bytes for tensor in tensors}
    return sum(sizes.values()) + sum(sizes.get(name, 0) for name in tied)


def graph_bytes(file: BinaryIO) -> int:
    """Return the bytes of the graph of an ONNX file that a file decodes to; 0 if it was another checkpoint.

    The file must have passed `check_open_encoding`. Raises `NernError` (`bad_encoding`).
    """
    tensors = read_header(file, file.seek(0, os.SEEK_END))
    return measure_graph(read_tensor_bytes(file, GRAPH)) if GRAPH in tensors else 0


def read_contents(file: BinaryIO, model: type[Contents], called: str = "The file") -> Contents:
    """Read the fields of `nern_core.container.document.Contents` that the model has; other fields are skipped.

    The file must have passed `check_open_encoding`. Raises `NernError` (`bad_encoding`).
    """
    text = inflate_document(read_tensor_bytes(file, DOCUMENT), called)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise NernError("bad_encoding", f"{called} is damaged: its document cannot be read.") from error


class _Tensor(BaseModel):
    """A tensor that a document declares."""

    name: str
    shape: Shape
    dtype: str

    @property
    def values(self) -> int:
        return math.prod(self.shape)

    @property
    def logical_bytes(self) -> int:
        return self.values * TORCH_ITEM_BYTES.get(self.dtype, _LARGEST_ITEM_BYTES)


class _Document(BaseModel):
    """The fields of `nern_core.container.document.Document` that are read here."""

    layers: tuple[_Tensor, ...]
    tied: dict[str, str]


class _Contents(BaseModel):
    """The fields of `nern_core.container.document.Contents` that are read here."""

    document: _Document
    kept: tuple[_Tensor, ...]


def _check_version(text: str, called: str) -> None:
    try:
        version = _Version.model_validate_json(text).format_version
    except ValidationError as error:
        raise NernError("bad_encoding", f"{called} is damaged: it has no valid format version.") from error
    if not OLDEST_VERSION <= version <= NEWEST_VERSION:
        raise NernError(
            "unsupported_version",
            f"{called} has format {version}, but this version of nern reads {OLDEST_VERSION} to {NEWEST_VERSION}; "
            "decode it with the version that wrote it, or encode the checkpoint again.",
        )
