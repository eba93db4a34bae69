"""Write and read `.nern` files.

Tensors of the file: `document` is compressed JSON; `streams` are the concatenated bytes of the range coders;
`predictor` holds the predictor's concatenated parameters; `kept.<dtype>` or, compressed, `zstd.<dtype>` hold the kept
values. The metadata holds the format version and a checksum of the whole file.
"""

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import safetensors.torch
import torch
from pydantic import JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nern_core.container.document import Contents, PredictorRepresentation, QuantizedRepresentation
from nern_core.container.encoding import Encoding, PredictedWeights, QuantizedWeights
from nern_core.container.kept import COMPRESSED, PLAIN, compress_kept, decompress_kept, pack_kept, unpack_kept
from nern_core.container.limits import check_extent
from nern_core.contract.errors import NernError
from nern_core.contract.options import Permutation
from nern_core.formats.checksum import CHECKSUM, UNSEALED, seal
from nern_core.formats.encoding_structure import (
    DOCUMENT,
    FORMAT_VERSION,
    LARGEST_DOCUMENT,
    METADATA_KEY,
    VERSION,
    check_encoding_structure,
)
from nern_core.formats.plain_values import NotPlainError, from_json
from nern_core.representations.predicted.permutation_streams import pack_order, unpack_order
from nern_core.representations.predicted.predictor import parameter_shapes
from nern_core.representations.quantized.layer_streams import pack_layers, unpack_layers
from nern_core.tensors.kernels import KernelLayer

_STREAMS, _PREDICTOR = "streams", "predictor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Bytes of a `.nern` file by purpose; `header` is the rest: the document, and names and shapes of tensors.

    `integers` are the quantized weights, including the description of their distributions.
    """

    file: int
    predictor: int
    permutation: int
    integers: int
    kept: int

    @property
    def header(self) -> int:
        """Return the bytes that hold neither weights nor kept tensors."""
        return self.file - self.predictor - self.permutation - self.integers - self.kept


def write_encoding(encoding: Encoding, path: Path) -> None:
    """Write the file; the parameters of a predictor are stored in their current dtype."""
    safetensors.torch.save_file(_pack(encoding), path, {METADATA_KEY: _metadata()})
    seal(path)


def encoded_size(encoding: Encoding) -> int:
    """Return the size in bytes of the file that would be written."""
    return len(safetensors.torch.save(_pack(encoding), {METADATA_KEY: _metadata()}))


def _metadata() -> str:
    return json.dumps({CHECKSUM: UNSEALED, VERSION: FORMAT_VERSION}, separators=(",", ":"))


def _pack(encoding: Encoding) -> dict[str, Tensor]:
    """Return the tensors of the file."""
    document, weights = encoding.document, encoding.weights
    tensors: dict[str, Tensor] = {}
    if isinstance(weights, QuantizedWeights):
        streams = pack_layers(weights.layers)
    else:
        representation, _ = encoding.predicted
        streams = pack_orders(weights.orders, document.layers, representation.permutation)
        tensors[_PREDICTOR] = torch.cat([parameter.flatten() for parameter in weights.parameters.values()])
    entries, flat = pack_kept(encoding.kept)
    contents = Contents(document=document, streams=tuple(map(len, streams)), kept=entries)
    text = zlib.compress(contents.model_dump_json().encode(), level=9)
    tensors |= {DOCUMENT: _as_tensor(text)} | compress_kept(flat)
    if streams:
        tensors[_STREAMS] = _as_tensor(b"".join(streams))
    return tensors


def read_encoding(path: Path) -> Encoding:
    """Read and check a file.

    Raises `NernError` with the code `not_an_encoding`, `unsupported_version` or `bad_encoding`.
    """
    tensors = _read_tensors(path)
    contents = _read_contents(tensors.pop(DOCUMENT), path.name)
    _check_names(contents)
    check_extent(contents, path.stat().st_size)
    document = contents.document
    streams = _split(tensors.pop(_STREAMS, None), contents.streams)
    representation = document.representation
    weights: PredictedWeights | QuantizedWeights
    if isinstance(representation, QuantizedRepresentation):
        weights = QuantizedWeights(unpack_layers(streams, document.layers))
    else:
        weights = PredictedWeights(
            _read_parameters(representation, document.layers, tensors.pop(_PREDICTOR, None)),
            unpack_orders(streams, document.layers, representation.permutation),
        )
    return Encoding(document, weights, unpack_kept(contents.kept, decompress_kept(tensors, contents.kept)))


def measure_sizes(path: Path) -> Sizes:
    """Add up the bytes of a file by purpose."""
    tensors = _read_tensors(path)
    document = _read_contents(tensors[DOCUMENT], path.name).document
    streams = tensors[_STREAMS].nbytes if _STREAMS in tensors else 0
    predicted = isinstance(document.representation, PredictorRepresentation)
    return Sizes(
        file=path.stat().st_size,
        predictor=tensors[_PREDICTOR].nbytes if predicted else 0,
        permutation=streams if predicted else 0,
        integers=0 if predicted else streams,
        kept=sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith((PLAIN, COMPRESSED))),
    )


def pack_orders(
    orders: Sequence[Tensor | None], layers: Sequence[KernelLayer], permutation: Permutation
) -> list[bytes]:
    """Pack the order of each layer into a stream; without a permutation there are no streams."""
    return [
        pack_order(order, layer.filters, layer.channels, permutation).numpy().tobytes()
        for order, layer in zip(orders, layers, strict=True)
        if order is not None
    ]


def unpack_orders(
    streams: Sequence[bytes], layers: Sequence[KernelLayer], permutation: Permutation
) -> tuple[Tensor | None, ...]:
    """Undo `pack_orders`. Raises `NernError` (`bad_encoding`)."""
    expected = 0 if permutation is Permutation.NONE else len(layers)
    if len(streams) != expected:
        raise NernError("bad_encoding", "The .nern file is damaged: it does not have one permutation per layer.")
    if permutation is Permutation.NONE:
        return (None,) * len(layers)
    return tuple(
        unpack_order(_as_tensor(stream), layer.filters, layer.channels, permutation)
        for stream, layer in zip(streams, layers, strict=True)
    )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    called = f"'{path.name}'"
    try:
        check_encoding_structure(path, called)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # not a mapping
    except (SafetensorError, OSError) as error:
        raise NernError("not_an_encoding", f"{called} is not a .nern file: {error}.") from error


def _read_contents(tensor: Tensor, file_name: str) -> Contents:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(tensor.numpy().tobytes(), LARGEST_DOCUMENT)
        return Contents.model_validate_json(text)
    except zlib.error as error:
        raise NernError("bad_encoding", f"'{file_name}' is damaged: its document cannot be read.") from error
    except ValidationError as error:
        raise NernError(
            "bad_encoding",
            f"'{file_name}' cannot be decoded: {error.error_count()} fields of its document are invalid.",
        ) from error


def _read_parameters(
    representation: PredictorRepresentation, layers: Sequence[KernelLayer], flat: Tensor | None
) -> dict[str, Tensor]:
    shapes = parameter_shapes(representation.predictor, layers)
    counts = [math.prod(shape) for shape in shapes.values()]
    if flat is None or flat.shape != (sum(counts),):
        raise NernError("bad_encoding", "The .nern file is damaged: its predictor does not have the declared shape.")
    parts = flat.split(counts)
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _check_names(contents: Contents) -> None:
    """Check that every tensor is represented, kept or tied to such a tensor, and that no name occurs twice."""
    document = contents.document
    names = [layer.name for layer in document.layers] + [kept.name for kept in contents.kept]
    stored = set(names)
    for value in [*(document.metadata or {}).values(), *document.extra_states.values()]:
        _check_plain(value)
    written = [*document.file_names.by_name(document.tensor_order).values(), *document.extra_states]
    if (
        len(stored) != len(names)
        or stored | set(document.tied) != set(document.tensor_order)
        or not stored.issuperset(document.tied.values())
        or not set(document.file_names.others) <= set(document.tensor_order)
        or len(set(written)) != len(written)
        or not all(name.isprintable() for name in written)
    ):
        raise NernError("bad_encoding", "The .nern file is damaged: its tensors do not match its list of tensors.")


def _check_plain(value: JsonValue) -> None:
    try:
        from_json(value)
    except NotPlainError as error:
        raise NernError("bad_encoding", "The .nern file is damaged: it contains unreadable values.") from error


def _split(tensor: Tensor | None, lengths: Sequence[int]) -> list[bytes]:
    joined = b"" if tensor is None else tensor.numpy().tobytes()
    if sum(lengths) != len(joined):
        raise NernError("bad_encoding", "The .nern file is damaged: its streams do not have the declared lengths.")
    return [joined[start:end] for start, end in pairwise(accumulate(lengths, initial=0))]


def _as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
