"""Decode a `.nern` file of quantized weights into NumPy arrays, without torch.

For devices and services that only load weights: `pip install "nern[decode]"`. The weights are the same bits as those of
`nern_core.decode`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nern_core.codec.layers import WeightType
from nern_core.codec.reconstruction import round_weights
from nern_core.codec.steps import step_of
from nern_core.codec.streams import decode_layers, open_layers
from nern_core.container.contents import parse_contents, separate_kept, split_streams
from nern_core.container.document import Document
from nern_core.container.kept_bytes import KeptBytes, damaged_kept, unpack_kept_bytes
from nern_core.container.limits import check_extent
from nern_core.container.stored_tensors import read_stored_tensors
from nern_core.contract.errors import NernError
from nern_core.contract.extras import extra_error
from nern_core.formats.tensor_claims import TORCH_DTYPES
from nern_core.representations.quantized.descriptions import describe_quantized
from nern_core.representations.quantized.layer_shape import scratch_values, shape_of

# NumPy has no types for these; arrays hold their bits.
_BITS: Final = {"bfloat16": "uint16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}
_NAMES: Final = {dtype: name for name, dtype in TORCH_DTYPES.items()}


@dataclass(frozen=True, slots=True)
class DecodedArrays:
    """The arrays of a checkpoint by name, in its order, and torch's names of their dtypes.

    Arrays of bfloat16 and of 8-bit floats hold the bits, as uint16 and uint8.
    """

    arrays: Mapping[str, NDArray[np.generic]]
    dtypes: Mapping[str, str]

    def write_safetensors(self, path: Path) -> None:
        """Write a safetensors file, one array after the other."""
        header: dict[str, Any] = {}
        end = 0
        # Large items first, so that all arrays are aligned.
        placed = sorted(self.arrays.items(), key=lambda named: -named[1].itemsize)
        for name, array in placed:
            start, end = end, end + array.nbytes
            header[name] = {
                "dtype": _NAMES[self.dtypes[name]],
                "shape": list(array.shape),
                "data_offsets": [start, end],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        # The data begin at a multiple of 8 bytes.
        text += b" " * (-len(text) % 8)
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, array in placed:
                file.write(np.ascontiguousarray(array).data)


def decode_arrays(path: Path | str) -> DecodedArrays:
    """Decode a file.

    Raises `NernError`: `missing_extra` for weights that are not quantized as files are written today,
    `not_an_encoding`, `unsupported_version` or `bad_encoding` for a file that cannot be read.
    """
    path = Path(path)
    stored = read_stored_tensors(path)
    contents = parse_contents(stored, path.name)
    document = contents.document
    if document.representation != describe_quantized():
        raise extra_error(f"Files other than quantized ones of format 7, such as '{path.name}', need", "encode")
    check_extent(contents, path.stat().st_size, scratch_values(document.layers))
    of_kept, others = separate_kept(stored)
    if others:
        raise NernError("bad_encoding", "The .nern file is damaged: it has more than quantized weights have.")
    kept = unpack_kept_bytes(of_kept, contents.kept)
    weights = _weights(document, split_streams(stored, contents.streams))
    arrays = {**weights, **{values.entry.name: _kept_array(values) for values in kept}}
    dtypes = {**{layer.name: layer.dtype for layer in document.layers}, **{k.entry.name: k.entry.dtype for k in kept}}
    in_file = document.file_names.by_name(document.tensor_order)
    sources = {name: document.tied.get(name, name) for name in document.tensor_order}
    return DecodedArrays(
        {in_file.get(name, name): arrays[source] for name, source in sources.items()},
        {in_file.get(name, name): dtypes[source] for name, source in sources.items()},
    )


def _weights(document: Document, streams: list[bytes]) -> dict[str, NDArray[np.generic]]:
    layers = open_layers(streams, [shape_of(layer) for layer in document.layers])
    found = decode_layers(layers, [WeightType(layer.dtype) for layer in document.layers])
    return {layer.name: weights.reshape(layer.shape) for layer, weights in zip(document.layers, found, strict=True)}


def _kept_array(kept: KeptBytes) -> NDArray[np.generic]:
    entry = kept.entry
    if entry.constant is not None:
        return _rounded(np.full(entry.shape, entry.constant), entry.dtype)
    if entry.exponent is None:
        return np.frombuffer(kept.data, _storage(entry.dtype)).reshape(entry.shape)
    integers = np.frombuffer(kept.data, np.int8).reshape(entry.shape)
    return _rounded(integers.astype(np.float64) * step_of(entry.exponent), entry.dtype)


def _rounded(values: NDArray[Any], dtype: str) -> NDArray[np.generic]:
    """Round numbers to a dtype. Raises `NernError` (`bad_encoding`) for numbers that it does not have."""
    if dtype in set(WeightType):
        return round_weights(values.astype(np.float64), WeightType(dtype))
    if dtype in _BITS:
        raise damaged_kept()
    try:
        found = values.astype(_storage(dtype))
    except (OverflowError, ValueError) as error:
        raise damaged_kept() from error
    if not bool((found == values).all()):
        raise damaged_kept()
    return found


def _storage(dtype: str) -> np.dtype[np.generic]:
    return np.dtype(_BITS.get(dtype, dtype))
