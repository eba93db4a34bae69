"""Summary of a `.nern` file from its document, without decoding it. Torch-free."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from nern_core.formats.encoding_structure import (
    check_open_encoding,
    decoded_bytes,
    read_contents,
    read_format_version,
)
from nern_core.formats.tensor_claims import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingSummary:
    """Facts that the document states, in the words of `nern_core.container.document.Document`.

    `tensor_bytes` are those of all decoded tensors.
    """

    format_version: int
    architecture: str | None
    recipe: str
    kind: str
    represented: tuple[Shape, ...]
    kept_tensors: int
    tied: Mapping[str, str]
    source_sha256: str
    source_bytes: int
    tensor_bytes: int

    @property
    def represented_weights(self) -> int:
        """Return the number of scalars of the represented tensors."""
        return sum(map(math.prod, self.represented))


class _Options(BaseModel):
    recipe: str


class _Representation(BaseModel):
    kind: str


class _Tensor(BaseModel):
    shape: Shape


class _Source(BaseModel):
    sha256: str
    bytes: int


class _Document(BaseModel):
    architecture: str | None
    options: _Options
    representation: _Representation
    layers: tuple[_Tensor, ...]
    tied: dict[str, str]
    source: _Source


class _Contents(BaseModel):
    document: _Document
    kept: tuple[_Tensor, ...]


def read_summary(path: Path) -> EncodingSummary:
    """Read a file. Raises `NernError` with the code `not_an_encoding`, `unsupported_version` or `bad_encoding`."""
    called = f"'{path.name}'"
    with path.open("rb") as file:
        check_open_encoding(file, called)
        contents = read_contents(file, _Contents, called)
        tensor_bytes = decoded_bytes(file, called)
    document = contents.document
    return EncodingSummary(
        format_version=read_format_version(path),
        architecture=document.architecture,
        recipe=document.options.recipe,
        kind=document.representation.kind,
        represented=tuple(layer.shape for layer in document.layers),
        kept_tensors=len(contents.kept),
        tied=document.tied,
        source_sha256=document.source.sha256,
        source_bytes=document.source.bytes,
        tensor_bytes=tensor_bytes,
    )
