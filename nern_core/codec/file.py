"""Write and read `.nern` files.

Tensors of the file: `predictor.*` are the predictor's parameters, `permutation.<l>` the packed order
of layer l, `kept.*` the tensors that are kept as they were. The metadata holds one JSON document, with a
checksum of the whole file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nern_core.codec.checksum import CHECKSUM, UNSEALED, is_intact, seal
from nern_core.codec.document import FORMAT_VERSION, Document
from nern_core.codec.permutations import pack_order, unpack_order
from nern_core.errors import NernError
from nern_core.options import Permutation
from nern_core.predictor import Predictor

_METADATA_KEY = "nern"
_PREDICTOR = "predictor."
_PERMUTATION = "permutation."
_KEPT = "kept."


class _Version(BaseModel):
    """What documents of all formats have."""

    format_version: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """A decoded container: `predictor` are parameters by name, `orders` one per layer (None: raster order)."""

    document: Document
    predictor: dict[str, Tensor]
    orders: tuple[Tensor | None, ...]
    kept: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Bytes of a `.nern` file by purpose; `header` is the rest: names, shapes and the document."""

    file: int
    predictor: int
    permutation: int
    kept: int

    @property
    def header(self) -> int:
        """Bytes that hold no tensor."""
        return self.file - self.predictor - self.permutation - self.kept


def write_encoding(encoding: Encoding, path: Path) -> None:
    """Write the file; the parameters are stored in the dtype that they have."""
    document = encoding.document
    streams = {
        f"{_PERMUTATION}{index}": pack_order(order, layer.filters, layer.channels, document.permutation)
        for index, (order, layer) in enumerate(zip(encoding.orders, document.layers, strict=True))
        if order is not None
    }
    tensors = _prefixed(_PREDICTOR, encoding.predictor) | streams | _prefixed(_KEPT, encoding.kept)
    text = json.dumps({CHECKSUM: UNSEALED} | document.model_dump(mode="json"), separators=(",", ":"))
    safetensors.torch.save_file(tensors, path, {_METADATA_KEY: text})
    seal(path)


def read_encoding(path: Path) -> Encoding:
    """Read and check a file.

    Raises `NernError` with the code `not_an_encoding`, `unsupported_version` or `bad_encoding`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # not a mapping
    except (SafetensorError, OSError) as error:
        raise NernError("not_an_encoding", f"'{path.name}' is not a .nern file: {error}.") from error
    if _METADATA_KEY not in metadata:
        raise NernError(
            "not_an_encoding", f"'{path.name}' is a safetensors file, but not a .nern file: it has no `nern` metadata."
        )
    text = metadata[_METADATA_KEY]
    _check_version(text, path.name)
    if not is_intact(path):
        raise NernError("bad_encoding", f"'{path.name}' is damaged: its checksum is not that of its contents.")
    document = _read_document(text, path.name)
    encoding = Encoding(
        document=document,
        predictor=_unprefixed(_PREDICTOR, tensors),
        orders=_read_orders(document, tensors),
        kept=_unprefixed(_KEPT, tensors),
    )
    _check(encoding)
    return encoding


def measure_sizes(path: Path) -> Sizes:
    """Add up the bytes of a file by purpose."""
    bytes_of = dict.fromkeys((_PREDICTOR, _PERMUTATION, _KEPT), 0)
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 # not a mapping
            bytes_of[name[: name.index(".") + 1]] += file.get_tensor(name).nbytes
    return Sizes(
        file=path.stat().st_size,
        predictor=bytes_of[_PREDICTOR],
        permutation=bytes_of[_PERMUTATION],
        kept=bytes_of[_KEPT],
    )


def _check_version(text: str, file_name: str) -> None:
    try:
        version = _Version.model_validate_json(text).format_version
    except ValidationError as error:
        raise NernError("bad_encoding", f"'{file_name}' does not say which format it has.") from error
    if version != FORMAT_VERSION:
        raise NernError(
            "unsupported_version",
            f"'{file_name}' has the format {version}, and this version of nern reads the format {FORMAT_VERSION}: "
            "decode it with the version that wrote it, or encode the checkpoint again.",
        )


def _read_document(text: str, file_name: str) -> Document:
    fields = json.loads(text)
    del fields[CHECKSUM]
    try:
        return Document.model_validate(fields)
    except ValidationError as error:
        raise NernError(
            "bad_encoding",
            f"'{file_name}' cannot be decoded: its document has {error.error_count()} fields that do not fit.",
        ) from error


def _read_orders(document: Document, tensors: Mapping[str, Tensor]) -> tuple[Tensor | None, ...]:
    if document.permutation is Permutation.NONE:
        return (None,) * len(document.layers)
    streams = [tensors.get(f"{_PERMUTATION}{index}") for index in range(len(document.layers))]
    if any(stream is None or stream.dtype != torch.uint8 or stream.ndim != 1 for stream in streams):
        raise NernError("bad_encoding", "The .nern file is damaged: a permutation is missing.")
    return tuple(
        unpack_order(stream, layer.filters, layer.channels, document.permutation)
        for stream, layer in zip(streams, document.layers, strict=True)
        if stream is not None
    )


def _check(encoding: Encoding) -> None:
    """Every tensor is represented, kept or tied to one that is, and the parameters fit the predictor's shape."""
    document = encoding.document
    stored = {layer.name for layer in document.layers} | set(encoding.kept)
    if stored | set(document.tied) != set(document.tensor_order) or not stored.issuperset(document.tied.values()):
        raise NernError("bad_encoding", "The .nern file is damaged: its tensors are not the ones that it lists.")
    with torch.device("meta"):
        expected = {n: p.shape for n, p in Predictor(document.predictor, document.layers).named_parameters()}
    if expected != {name: parameter.shape for name, parameter in encoding.predictor.items()}:
        raise NernError("bad_encoding", "The .nern file is damaged: its predictor does not have the declared shape.")


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _unprefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
