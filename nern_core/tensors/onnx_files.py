"""Read and write ONNX files: weights by name, and the graph, which is the model without their values.

Needs the extra `onnx`. The file is checked by `formats.onnx_files` before the library parses it, and both must find the
same weights.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Final

import numpy as np
import torch
from torch import Tensor, nn

from nern_core.contract.errors import NernError, quoted
from nern_core.contract.extras import extra_error
from nern_core.formats.onnx_files import (
    FLOATING_POINT,
    LARGEST_GRAPH,
    OnnxWeight,
    folder_of_values,
    open_external,
    read_onnx_file,
)
from nern_core.formats.onnx_files.problems import damaged, unsupported
from nern_core.formats.onnx_files.weights import unused_name

_DTYPES: Final = {"F16": torch.float16, "F32": torch.float32, "F64": torch.float64, "BF16": torch.bfloat16}
# The attribute of a network beside its weights.
PROGRAM: Final = "_program"
_MODULE: Final = nn.Module()
# Digits of a place in another file.
_LONGEST_NUMBER: Final = 18


def import_onnx() -> ModuleType:
    """Return the library. Raises `NernError` (`missing_extra`) if it is not installed."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise extra_error("ONNX files need", "onnx") from error
    return onnx


def read_onnx(file: BinaryIO, path: Path) -> tuple[dict[str, Tensor], dict[str, str], bytes]:
    """Read the weights in the order of their first use, their names in the file where they differ, and the graph.

    Raises `NernError` as `read_onnx_file` does, and `missing_extra`.
    """
    folder = folder_of_values(path)
    read = read_onnx_file(file, folder)
    weights = read.weights
    file.seek(0)
    model = parse_model(file.read())
    slots = dict(weight_slots(model))
    if {name: (slot.data_type, tuple(slot.dims)) for name, slot in slots.items()} != {
        name: (_number_of(weight), weight.claim.shape) for name, weight in weights.items()
    }:
        raise damaged("its weights are not told apart")
    names = names_in_modules(slots)
    tensors = {name: _values(name, slot, weights[name], folder) for name, slot in slots.items()}
    for slot in slots.values():
        _clear(slot)
    _take_in(model.graph, folder, LARGEST_GRAPH - read.graph_bytes)
    for node in _nodes(model.graph):
        # Stack traces of the exporter.
        node.ClearField("doc_string")
    ordered = sorted(tensors, key=_first_uses(model).__getitem__)
    graph: bytes = model.SerializeToString(deterministic=True)
    return (
        {names[name]: tensors[name] for name in ordered},
        {names[name]: name for name in ordered if names[name] != name},
        graph,
    )


def write_onnx(graph: bytes, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a model with these weights, by their names in the file. Raises `NernError` (`bad_encoding`)."""
    model = parse_model(graph)
    for name, slot in weight_slots(model):
        tensor = tensors.get(name)
        expected = _DTYPES[FLOATING_POINT[slot.data_type]]
        if tensor is None or tuple(tensor.shape) != tuple(slot.dims) or tensor.dtype != expected:
            raise NernError("bad_encoding", f"The .nern file is damaged: its graph needs another {quoted(name)}.")
        slot.raw_data = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    try:
        written = model.SerializeToString(deterministic=True)
    except ValueError as error:
        raise NernError(
            "too_large", "An ONNX file holds at most 2 GiB; write the weights as *.safetensors instead."
        ) from error
    path.write_bytes(written)


def parse_model(content: bytes) -> Any:  # noqa: ANN401 # a ModelProto, untyped here
    """Parse a model. Raises `NernError` (`unreadable_checkpoint`, `missing_extra`)."""
    onnx = import_onnx()
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, ValueError) as error:
        raise damaged("it is no message of protocol buffers") from error
    return model


def weight_slots(model: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 # a ModelProto
    """Yield the tensors of a model that are weights, with names that occur once, as `read_onnx_file` does."""
    used: set[str] = set()
    for name, tensor in _slots(model.graph):
        unused = unused_name(name, used)
        used.add(unused)
        yield unused, tensor


def weight_names(model: Any) -> list[str]:  # noqa: ANN401 # a ModelProto
    """Return the names of the weights of a model, in the order of `weight_slots`."""
    return [name for name, _ in weight_slots(model)]


def is_weight(part: Any) -> bool:  # noqa: ANN401 # a TensorProto or a NodeProto
    """Return True if an initializer, or a node that is a constant, holds a weight."""
    if hasattr(part, "data_type"):
        return part.data_type in FLOATING_POINT
    return next(_constants(part), None) is not None


def names_in_modules(names: Iterable[str]) -> dict[str, str]:
    """Give each name one that a module's state dict can have: no empty parts, no attributes of modules, no clashes."""
    given: dict[str, str] = {}
    leaves: set[str] = set()
    inner: set[str] = set()
    for name in names:
        parts = [f"{part}_" if _is_reserved(part) else part for part in name.split(".")]
        found = ".".join(parts)
        while found in leaves | inner or not leaves.isdisjoint(_prefixes(found)):
            # A part before the last one may be a weight of its own.
            parts = [f"{part}_" for part in parts]
            found = ".".join(parts)
        given[name] = found
        leaves.add(found)
        inner.update(_prefixes(found))
    return given


def _is_reserved(part: str) -> bool:
    return not part or part == PROGRAM or hasattr(_MODULE, part)


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _slots(graph: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 # a GraphProto
    for tensor in graph.initializer:
        if tensor.data_type in FLOATING_POINT:
            yield tensor.name, tensor
    for node in graph.node:
        for tensor in _constants(node):
            yield node.output[0], tensor
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _slots(attribute.g)


def _constants(node: Any) -> Iterator[Any]:  # noqa: ANN401 # a NodeProto
    """Yield the values of a constant if they are floating-point numbers, two or more."""
    if node.op_type != "Constant" or node.domain not in {"", "ai.onnx"} or not node.output:
        return
    for attribute in node.attribute:
        tensor = attribute.t
        if attribute.name == "value" and tensor.data_type in FLOATING_POINT and math.prod(tensor.dims) > 1:
            yield tensor


def _nodes(graph: Any) -> Iterator[Any]:  # noqa: ANN401 # a GraphProto
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _first_uses(model: Any) -> dict[str, int]:  # noqa: ANN401 # a ModelProto
    """Return the position of the first node that uses each weight; those that no node uses come last."""
    positions: dict[str, int] = {}
    for position, node in enumerate(_nodes(model.graph)):
        for name in node.input:
            positions.setdefault(name, position)
    last = len(positions)
    return {name: positions.get(name.partition("@")[0], last) for name, _ in weight_slots(model)}


def _number_of(weight: OnnxWeight) -> int:
    return next(number for number, dtype in FLOATING_POINT.items() if dtype == weight.claim.dtype)


def _values(name: str, slot: Any, weight: OnnxWeight, folder: Path | None) -> Tensor:  # noqa: ANN401 # a TensorProto
    """Return the values of a weight, which are raw, in the list for its type, or in another file."""
    dtype = _DTYPES[weight.claim.dtype]
    if weight.external is not None:
        location, start = weight.external
        with open_external(folder, location) as (file, _):
            file.seek(start)
            content = file.read(weight.claim.logical_bytes)
    elif slot.raw_data:
        content = slot.raw_data
    elif dtype is torch.float32:
        content = np.asarray(slot.float_data, "<f4").tobytes()
    elif dtype is torch.float64:
        content = np.asarray(slot.double_data, "<f8").tobytes()
    else:
        content = np.asarray(slot.int32_data, "<i4").astype("<u2").tobytes()
    if len(content) != weight.claim.logical_bytes:
        raise damaged(f"the values of its tensor {quoted(name)} are incomplete")
    if not content:
        return torch.empty(weight.claim.shape, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype).view(weight.claim.shape)


def _take_in(graph: Any, folder: Path | None, room: int) -> int:  # noqa: ANN401 # a GraphProto
    """Read the constants that another file holds, such as tables of indices, into the graph; return the room left.

    Raises `NernError` (`unsupported_format`, `unreadable_checkpoint`) for more than `room` bytes.
    """
    held = [attribute.t for node in graph.node for attribute in node.attribute]
    for tensor in (*graph.initializer, *held):
        if not tensor.external_data:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        places = entries.get("offset", "0"), entries.get("length", "")
        if not all(place.isascii() and place.isdecimal() and len(place) <= _LONGEST_NUMBER for place in places):
            raise damaged(f"the place of its tensor {quoted(tensor.name)} is no number")
        start, size = map(int, places)
        room -= size
        if room < 0:
            raise unsupported(f"has a graph of more than {LARGEST_GRAPH:,} bytes besides its weights")
        with open_external(folder, entries.get("location", "")) as (file, _):
            file.seek(start)
            content = file.read(size)
        if len(content) != size:
            raise damaged(f"the values of its tensor {quoted(tensor.name)} are incomplete")
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = content
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                room = _take_in(attribute.g, folder, room)
    return room


def _clear(slot: Any) -> None:  # noqa: ANN401 # a TensorProto
    for values in ("raw_data", "float_data", "int32_data", "double_data", "external_data", "data_location"):
        slot.ClearField(values)
    slot.ClearField("doc_string")
