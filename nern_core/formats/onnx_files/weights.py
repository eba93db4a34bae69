"""The weights of an ONNX file: its floating-point initializers, and constants of two or more values, by name.

Those of a branch of a condition count, too. Names that occur twice get a suffix, such as `weight@2`. Everything else is
the graph: the nodes, integers, and single constants.
"""

import math
import os
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from nern_core.contract.errors import NernError, quoted
from nern_core.formats.onnx_files.external_data import open_external
from nern_core.formats.onnx_files.messages import TEXT, Field, MessageReader
from nern_core.formats.onnx_files.problems import damaged, unsupported
from nern_core.formats.tensor_claims import MOST_TENSORS, TensorClaim, check_name, is_shape, too_many_tensors

# Bytes of a file besides its weights.
LARGEST_GRAPH: Final = 64 * 2**20
_DEEPEST_BRANCH: Final = 16
# Floating-point types of ONNX by their numbers.
FLOATING_POINT: Final = {1: "F32", 10: "F16", 11: "F64", 16: "BF16"}
# Field numbers of onnx.proto.
_MODEL_GRAPH: Final = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 2, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH = 1, 5, 6
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_SEGMENT, _TENSOR_NAME = 1, 2, 3, 8
_TENSOR_FLOATS, _TENSOR_INT32S, _TENSOR_RAW, _TENSOR_DOUBLES = 4, 5, 9, 10
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_VALUES: Final = (_TENSOR_FLOATS, _TENSOR_INT32S, _TENSOR_RAW, _TENSOR_DOUBLES)
_IS_EXTERNAL: Final = 1


@dataclass(frozen=True, slots=True)
class OnnxWeight:
    """A weight: dtype and shape, and the place of its values, if they are in another file: name, first byte."""

    claim: TensorClaim
    external: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """The weights of a file by name, in their order in the graph, and the bytes of everything else in it."""

    weights: dict[str, OnnxWeight]
    graph_bytes: int


@dataclass(slots=True)
class _Tensor:
    """The fields of a tensor as they are found."""

    name: str = ""
    type: int = 0
    dims: list[int] = field(default_factory=list)
    values: list[Field] = field(default_factory=list)
    external: dict[str, str] = field(default_factory=dict)
    is_external: bool = False


@dataclass(slots=True)
class _Node:
    """The fields of a node that matter here."""

    operator: str = ""
    domain: str = ""
    output: str | None = None
    tensors: list[tuple[str, Field]] = field(default_factory=list)
    graphs: list[Field] = field(default_factory=list)


def read_onnx_file(file: BinaryIO, folder: Path | None = None) -> OnnxFile:
    """Read an open file.

    External data are accepted only in `folder`. Raises `NernError` (`unreadable_checkpoint`, `unsupported_format`,
    `unsupported_tensor`).
    """
    size = file.seek(0, os.SEEK_END)
    reader = _WeightsReader(file)
    graphs = [found for found in reader.messages.fields(0, size) if found.number == _MODEL_GRAPH]
    if len(graphs) != 1 or graphs[0].kind != TEXT:
        raise damaged("it has no graph")
    weights: dict[str, OnnxWeight] = {}
    for name, weight in reader.of_graph(graphs[0]):
        weights[unused_name(name, weights)] = weight
        if len(weights) > MOST_TENSORS:
            raise too_many_tensors()
    inside = sum(weight.claim.logical_bytes for weight in weights.values() if weight.external is None)
    if size - inside > LARGEST_GRAPH:
        raise unsupported(f"has a graph of {size - inside:,} bytes besides its weights, more than {LARGEST_GRAPH:,}")
    _check_external(weights, folder)
    return OnnxFile(weights, size - inside)


def unused_name(name: str, used: Container[str]) -> str:
    """Return a name, with a number if it is used already."""
    unused, number = name, 1
    while unused in used:
        number += 1
        unused = f"{name}@{number}"
    return unused


class _WeightsReader:
    """Walks the graph and its branches."""

    def __init__(self, file: BinaryIO) -> None:
        self.messages = MessageReader(file)

    def of_graph(self, graph: Field, depth: int = 0) -> Iterator[tuple[str, OnnxWeight]]:
        """Yield the weights of a graph: the initializers first, then those of its nodes."""
        if depth > _DEEPEST_BRANCH:
            raise unsupported(f"has branches within branches, more than {_DEEPEST_BRANCH} deep")
        nodes = []
        for found in self.messages.fields(graph.start, graph.end):
            if found.number == _GRAPH_SPARSE:
                raise unsupported("has sparse weights")
            if found.number == _GRAPH_INITIALIZER:
                tensor = self._tensor(found)
                if tensor.type in FLOATING_POINT:
                    yield tensor.name, self._weight(tensor.name, tensor)
            elif found.number == _GRAPH_NODE:
                nodes.append((found.start, found.end))
        for start, end in nodes:
            node = self._node(start, end)
            yield from self._constants(node)
            for branch in node.graphs:
                yield from self.of_graph(branch, depth + 1)

    def _constants(self, node: _Node) -> Iterator[tuple[str, OnnxWeight]]:
        if node.operator != "Constant" or node.domain not in {"", "ai.onnx"} or node.output is None:
            return
        for name, found in node.tensors:
            tensor = self._tensor(found)
            if (
                name == "value"
                and tensor.type in FLOATING_POINT
                and math.prod(tensor.dims[:16]) != 1
                and 0 not in tensor.dims
            ):
                yield node.output, self._weight(node.output, tensor)

    def _node(self, start: int, end: int) -> _Node:
        node = _Node()
        for found in self.messages.fields(start, end):
            if found.number == _NODE_OPERATOR:
                node.operator = self.messages.text(found)
            elif found.number == _NODE_DOMAIN:
                node.domain = self.messages.text(found)
            elif found.number == _NODE_OUTPUT and node.output is None:
                node.output = self.messages.text(found)
            elif found.number == _NODE_ATTRIBUTE:
                self._read_attribute(found, node)
        return node

    def _read_attribute(self, attribute: Field, node: _Node) -> None:
        name = ""
        tensors: list[Field] = []
        graphs: list[Field] = []
        for found in self.messages.fields(attribute.start, attribute.end):
            if found.number == _ATTRIBUTE_NAME:
                name = self.messages.text(found)
            elif found.number == _ATTRIBUTE_TENSOR:
                tensors.append(found)
            elif found.number == _ATTRIBUTE_GRAPH:
                graphs.append(found)
        if len(tensors) > 1 or len(graphs) > 1:
            raise damaged("an attribute in it has two values")
        node.tensors += [(name, tensor) for tensor in tensors]
        node.graphs += graphs

    def _tensor(self, message: Field) -> _Tensor:
        tensor = _Tensor()
        for found in self.messages.fields(message.start, message.end):
            if found.number == _TENSOR_NAME:
                tensor.name = self.messages.text(found)
            elif found.number == _TENSOR_TYPE:
                tensor.type = found.value
            elif found.number == _TENSOR_DIMS:
                tensor.dims += self.messages.varints(found)
            elif found.number in _VALUES:
                tensor.values.append(found)
            elif found.number == _TENSOR_EXTERNAL:
                self._read_external(found, tensor)
            elif found.number == _TENSOR_LOCATION:
                tensor.is_external = found.value == _IS_EXTERNAL
            elif found.number == _TENSOR_SEGMENT:
                raise unsupported("has a tensor in several segments")
        return tensor

    def _read_external(self, message: Field, tensor: _Tensor) -> None:
        entry = {found.number: self.messages.text(found) for found in self.messages.fields(message.start, message.end)}
        tensor.external[entry.get(1, "")] = entry.get(2, "")

    def _weight(self, name: str, tensor: _Tensor) -> OnnxWeight:
        check_name(name)
        shape = tuple(tensor.dims)
        if not is_shape(shape):
            raise NernError(
                "unsupported_tensor", f"Tensor {quoted(name)} has an impossible shape; save at most 8 dimensions."
            )
        claim = TensorClaim(FLOATING_POINT[tensor.type], shape)
        if tensor.is_external:
            return OnnxWeight(claim, _place(tensor, claim))
        held = self._bytes_of_values(tensor, claim)
        if held != claim.logical_bytes:
            raise damaged(f"its tensor {quoted(name)} has {held:,} bytes of values instead of {claim.logical_bytes:,}")
        return OnnxWeight(claim)

    def _bytes_of_values(self, tensor: _Tensor, claim: TensorClaim) -> int:
        """Count the bytes of the values, which are raw or in the list for their type; an empty tensor has none."""
        if len(tensor.values) > 1:
            raise unsupported("has a tensor in several pieces")
        if not tensor.values:
            return 0
        ((values),) = tensor.values
        lists = {"F32": _TENSOR_FLOATS, "F64": _TENSOR_DOUBLES}
        if values.kind == TEXT and values.number in {_TENSOR_RAW, lists.get(claim.dtype)}:
            return values.bytes
        if values.number == _TENSOR_INT32S and claim.dtype in {"F16", "BF16"}:
            return 2 * self.messages.count_varints(values)
        return 0


def _place(tensor: _Tensor, claim: TensorClaim) -> tuple[str, int]:
    """Return the file of external values and their first byte."""
    offset, length = tensor.external.get("offset", "0"), tensor.external.get("length", str(claim.logical_bytes))
    if tensor.values or not all(number.isascii() and number.isdecimal() for number in (offset, length)):
        raise damaged("the place of external values is no number")
    if len(offset) > 18 or int(length[:18]) != claim.logical_bytes:
        raise damaged("the place of external values does not fit their shape")
    return tensor.external.get("location", ""), int(offset)


def _check_external(weights: dict[str, OnnxWeight], folder: Path | None) -> None:
    """Check that all external values lie in one file beside this one."""
    places = [(*weight.external, weight.claim.logical_bytes) for weight in weights.values() if weight.external]
    if not places:
        return
    if len({location for location, _, _ in places}) > 1:
        raise unsupported(
            "keeps its values in several other files", "save it with onnx.save, in one file, and use that"
        )
    with open_external(folder, places[0][0]) as (_, size):
        if any(start + length > size for _, start, length in places):
            raise damaged("the file with its values is shorter than it says")
    if sum(length for _, _, length in places) > size:
        raise damaged("its tensors share external values")
