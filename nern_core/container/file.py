"""The envelope of a `.nern` file: a safetensors file with a document, packed weights and kept tensors.

Tensors of the file: `document` is compressed JSON; `streams` are the concatenated byte streams of the representation,
which may add tensors of its own, under other names; `graph` is the rest of an ONNX file, compressed;
`kept.<dtype>` or, compressed, `zstd.<dtype>` hold the kept values.
The metadata holds the format version and a checksum of the whole file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path

import safetensors.torch
import torch
from pydantic import JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nern_core.container.document import Contents, Document
from nern_core.container.kept import COMPRESSED, PLAIN, Kept, compress_kept, decompress_kept, pack_kept, unpack_kept
from nern_core.contract.errors import NernError
from nern_core.contract.options import ANY_ARCHITECTURE
from nern_core.formats.checksum import CHECKSUM, UNSEALED, seal
from nern_core.formats.document_text import compress_document, inflate_document
from nern_core.formats.encoding_structure import (
    DOCUMENT,
    FORMAT_VERSION,
    GRAPH,
    METADATA_KEY,
    VERSION,
    VERSION_WITH_GRAPH,
    check_encoding_structure,
)
from nern_core.formats.graph_compression import compress_graph, decompress_graph
from nern_core.formats.plain_values import NotPlainError, from_json
from nern_core.formats.tensor_claims import is_name
from nern_core.tensors.safetensors_files import write_safetensors

_STREAMS = "streams"


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
    kept: Mapping[str, Tensor]
    graph_bytes: int = 0

    def unpack_kept(self) -> dict[str, Kept]:
        """Decompress the kept tensors. Raises `NernError` (`bad_encoding`)."""
        return unpack_kept(self.contents.kept, decompress_kept(self.kept, self.contents.kept))


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
    tensors = _read_tensors(path)
    graph = tensors.pop(GRAPH, None)
    contents = _read_contents(tensors.pop(DOCUMENT), None if graph is None else _bytes_of(graph), path.name)
    _check_names(contents)
    streams = _split(tensors.pop(_STREAMS, None), contents.streams)
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith((PLAIN, COMPRESSED))}
    own = {name: tensor for name, tensor in tensors.items() if name not in kept}
    graph_bytes = 0 if graph is None else graph.nbytes
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
        tensors[_STREAMS] = bytes_tensor(b"".join(weights.streams))
    if document.graph is not None:
        tensors[GRAPH] = bytes_tensor(compress_graph(document.graph))
    return tensors


def _read_tensors(path: Path) -> dict[str, Tensor]:
    called = f"'{path.name}'"
    try:
        check_encoding_structure(path, called)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # not a mapping
    except (SafetensorError, OSError) as error:
        raise NernError("not_an_encoding", f"{called} is not a .nern file: {error}.") from error


def _read_contents(tensor: Tensor, graph: bytes | None, file_name: str) -> Contents:
    text = inflate_document(_bytes_of(tensor), f"'{file_name}'")
    try:
        contents = Contents.model_validate_json(text, context={ANY_ARCHITECTURE})
    except ValidationError as error:
        raise NernError(
            "bad_encoding",
            f"'{file_name}' cannot be decoded: {error.error_count()} fields of its document are invalid.",
        ) from error
    if contents.document.graph is not None:
        raise NernError("bad_encoding", f"'{file_name}' is damaged: it has a graph within its document.")
    unpacked = None if graph is None else decompress_graph(graph)
    return contents.model_copy(update={"document": contents.document.model_copy(update={"graph": unpacked})})


def _check_names(contents: Contents) -> None:
    """Check that every tensor is represented, kept or tied to such a tensor, and that no two have one name.

    That holds for the names in the document and for those in the decoded file, which are different there.
    """
    document = contents.document
    names = [layer.name for layer in document.layers] + [kept.name for kept in contents.kept]
    stored = set(names)
    for value in [*(document.metadata or {}).values(), *document.extra_states.values()]:
        _check_plain(value)
    in_file = document.file_names.by_name(document.tensor_order)
    written = [*(in_file.get(name, name) for name in document.tensor_order), *document.extra_states]
    if (
        len(stored) != len(names)
        or stored | set(document.tied) != set(document.tensor_order)
        or not stored.issuperset(document.tied.values())
        or not set(document.file_names.others) <= set(document.tensor_order)
        or len(set(written)) != len(written)
        or not all(map(is_name, [*written, *document.tensor_order]))
    ):
        raise NernError("bad_encoding", "The .nern file is damaged: its tensors do not match its list of tensors.")


def _check_plain(value: JsonValue) -> None:
    try:
        from_json(value)
    except NotPlainError as error:
        raise NernError("bad_encoding", "The .nern file is damaged: it contains unreadable values.") from error


def _split(tensor: Tensor | None, lengths: Sequence[int]) -> list[bytes]:
    joined = b"" if tensor is None else _bytes_of(tensor)
    if sum(lengths) != len(joined):
        raise NernError("bad_encoding", "The .nern file is damaged: its streams do not have the declared lengths.")
    return [joined[start:end] for start, end in pairwise(accumulate(lengths, initial=0))]


def _bytes_of(tensor: Tensor) -> bytes:
    if tensor.dtype != torch.uint8 or tensor.ndim != 1:
        raise NernError("bad_encoding", "The .nern file is damaged: a tensor of bytes has another dtype or shape.")
    return tensor.numpy().tobytes()


def bytes_tensor(data: bytes) -> Tensor:
    """Return bytes as a tensor, uint8 (n,)."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
