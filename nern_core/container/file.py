"""The envelope of a `.nern` file: a safetensors file with a document, packed weights and kept tensors.

Tensors of the file: `document` is compressed JSON; `streams` are the concatenated byte streams of the representation,
which may add tensors of its own, under other names; `graph` is the rest of an ONNX file, compressed;
`kept.<dtype>` or, compressed, `zstd.<dtype>` hold the kept values.
The metadata holds the format version and a checksum of the whole file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from nern_core.container.contents import STREAMS, parse_contents, separate_kept, split_streams
from nern_core.container.document import Contents, Document
from nern_core.container.kept import Kept, compress_kept, pack_kept, tensor_of_bytes, unpack_kept
from nern_core.container.stored_tensors import StoredTensor, read_stored_tensors
from nern_core.formats.checksum import CHECKSUM, UNSEALED, seal
from nern_core.formats.document_text import compress_document
from nern_core.formats.encoding_structure import (
    DOCUMENT,
    FORMAT_VERSION,
    GRAPH,
    METADATA_KEY,
    VERSION,
    VERSION_WITH_GRAPH,
)
from nern_core.formats.graph_compression import compress_graph
from nern_core.tensors.safetensors_files import write_safetensors


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedWeights:
    """Weights as they are stored: byte streams, and tensors of the representation's own by name.

    `version` is the lowest format version of a file with these weights.
    """

    streams: Sequence[bytes] = ()
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    version: int = FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class PackedEncoding:
    """The contents of a file with its weights and kept tensors still packed; `graph_bytes` are those of its graph."""

    contents: Contents
    weights: PackedWeights
    kept: Mapping[str, StoredTensor]
    graph_bytes: int = 0

    def unpack_kept(self) -> dict[str, Kept]:
        """Decompress the kept tensors. Raises `NernError` (`bad_encoding`)."""
        return unpack_kept(self.kept, self.contents.kept)


def write_packed(document: Document, weights: PackedWeights, kept: Mapping[str, Kept], path: Path) -> None:
    """Write a file."""
    write_safetensors(_tensors(document, weights, kept), path, {METADATA_KEY: _metadata(document, weights)})
    seal(path)


def packed_size(document: Document, weights: PackedWeights, kept: Mapping[str, Kept]) -> int:
    """Return the size in bytes of the file that would be written."""
    return len(safetensors.torch.save(_tensors(document, weights, kept), {METADATA_KEY: _metadata(document, weights)}))


def read_packed(path: Path) -> PackedEncoding:
    """Read a file and check its document.

    Raises `NernError` with the code `not_an_encoding`, `unsupported_version` or `bad_encoding`.
    """
    stored = read_stored_tensors(path)
    contents = parse_contents(stored, path.name)
    streams = split_streams(stored, contents.streams)
    kept, others = separate_kept(stored)
    own = {name: tensor_of_bytes(of.data, getattr(torch, of.dtype), of.shape) for name, of in others.items()}
    graph_bytes = len(stored[GRAPH].data) if GRAPH in stored else 0
    return PackedEncoding(contents, PackedWeights(streams=streams, tensors=own), kept, graph_bytes)


def _metadata(document: Document, weights: PackedWeights) -> str:
    version = weights.version if document.graph is None else max(weights.version, VERSION_WITH_GRAPH)
    return json.dumps({CHECKSUM: UNSEALED, VERSION: version}, separators=(",", ":"))


def _tensors(document: Document, weights: PackedWeights, kept: Mapping[str, Kept]) -> dict[str, Tensor]:
    """Return the tensors of the file."""
    entries, flat = pack_kept(kept)
    contents = Contents(document=document, streams=tuple(map(len, weights.streams)), kept=entries)
    text = compress_document(contents.model_dump_json().encode())
    tensors = {**weights.tensors, DOCUMENT: bytes_tensor(text)} | compress_kept(flat)
    if weights.streams:
        tensors[STREAMS] = bytes_tensor(b"".join(weights.streams))
    if document.graph is not None:
        tensors[GRAPH] = bytes_tensor(compress_graph(document.graph))
    return tensors


def bytes_tensor(data: bytes) -> Tensor:
    """Return bytes as a tensor, uint8 (n,)."""
    return tensor_of_bytes(data, torch.uint8, (len(data),))
