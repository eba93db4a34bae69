"""The graph of an ONNX model as plain objects, checked: every operator is one that can be computed here."""

from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from nern_core.contract.errors import quoted
from nern_core.formats.onnx_files.problems import damaged, unsupported
from nern_core.networks.onnx_graph.functions import inlined
from nern_core.networks.onnx_graph.operators import OPERATORS
from nern_core.networks.onnx_graph.operators.call import computed
from nern_core.networks.onnx_graph.operators.call import unsupported as unsupported_operator
from nern_core.networks.onnx_graph.operators.normalization import EPSILON
from nern_core.tensors.onnx_files import import_onnx, is_weight, weight_names

_OLDEST_OPSET, _NEWEST_OPSET = 7, 28
_STANDARD: Final = {"", "ai.onnx"}
# Operators with branches, which the network itself runs.
BRANCHES: Final = {"If", "Loop", "Scan"}
# Inputs that are no weights although they may be floating-point initializers: they are kept exactly.
_EXACT_INPUTS: Final[Mapping[str, range]] = {
    "BatchNormalization": range(3, 5),
    "Clip": range(1, 3),
    "DequantizeLinear": range(1, 2),
    "Pad": range(2, 3),
    "Pow": range(1, 2),
    "QuantizeLinear": range(1, 2),
    "Range": range(3),
    "Resize": range(1, 3),
    "Upsample": range(1, 2),
}


# Dtypes of constants that torch does not compute with, and those in their place.
_IN_PLACE_OF: Final = {
    "bfloat16": "float32",
    "int4": "int8",
    "uint4": "uint8",
    "uint16": "int32",
    "uint32": "int64",
}


@dataclass(frozen=True, slots=True)
class Input:
    """An input of a graph: its name and the sizes of its axes, None for free ones; None if nothing is known."""

    name: str
    shape: tuple[int | None, ...] | None
    is_floating_point: bool


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its operator, the names of its inputs (empty if omitted) and outputs, and its attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def branches(self) -> Iterator["Graph"]:
        """Yield the graphs among the attributes."""
        return (value for value in self.attributes.values() if isinstance(value, Graph))


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """The names of the tensors of a batch normalization, and the number that is added to its variance."""

    weight: str
    bias: str
    mean: str
    variance: str
    epsilon: float

    def renamed(self, names: Mapping[str, str]) -> "BatchNorm":
        """Return the same with other names."""
        return BatchNorm(names[self.weight], names[self.bias], names[self.mean], names[self.variance], self.epsilon)


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in their order, constants by name, and weights: their names in the file by those in the graph."""

    nodes: tuple[Node, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Tensor]
    weights: Mapping[str, str]

    def used(self) -> set[str]:
        """Return the names that this graph and its branches use."""
        return set(self._uses())

    def exact(self) -> set[str]:
        """Return the names of weights in the file that are no parameters."""
        found = {
            self.weights[name]
            for node in self.nodes
            for place, name in enumerate(node.inputs)
            if name in self.weights and place in _EXACT_INPUTS.get(node.operator, ())
        }
        return found.union(*(branch.exact() for node in self.nodes for branch in node.branches()))

    def batch_norms(self) -> Iterator[BatchNorm]:
        """Yield the batch normalizations of this graph whose four tensors are weights that no other node uses."""
        uses = Counter(self._uses())
        for node in self.nodes:
            names = node.inputs[1:]
            if node.operator != "BatchNormalization" or not all(name in self.weights for name in names):
                continue
            if all(uses[name] == 1 for name in names):
                weight, bias, mean, variance = (self.weights[name] for name in names)
                yield BatchNorm(weight, bias, mean, variance, node.attributes.get("epsilon", EPSILON))

    def _uses(self) -> Iterator[str]:
        """Yield each name once for each use in this graph and its branches."""
        yield from self.outputs
        for node in self.nodes:
            yield from node.inputs
            for branch in node.branches():
                yield from branch._uses()  # noqa: SLF001 # its own


def read_graph(model: Any) -> tuple[Graph, int]:  # noqa: ANN401 # a ModelProto
    """Return the graph of a model and the version of its operators.

    Raises `NernError`: `unsupported_operator` with the first one that cannot be computed, and `unsupported_format`.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain in _STANDARD), 1)
    if not _OLDEST_OPSET <= opset <= _NEWEST_OPSET:
        raise unsupported(
            f"has operators of version {opset}", f"export it with a version from {_OLDEST_OPSET} to {_NEWEST_OPSET}"
        )
    names = weight_names(model)
    # Constants within functions are not weights.
    own = {part for name in names for part in (name, name.rpartition("@")[0])}
    return _read(inlined(model).graph, iter(names), own), opset


def _read(graph: Any, names: Iterator[str], own: AbstractSet[str]) -> Graph:  # noqa: ANN401 # a GraphProto
    """Read a graph; `names` are those of the weights in their order, and `own` their names in the graphs."""
    constants: dict[str, Tensor] = {}
    weights: dict[str, str] = {}
    for tensor in graph.initializer:
        if is_weight(tensor):
            weights[tensor.name] = next(names)
        else:
            constants[tensor.name] = _values(tensor)
    nodes = []
    for node in graph.node:
        operator = _operator(node)
        if operator == "Constant" and is_weight(node) and node.output[0] in own:
            weights[node.output[0]] = next(names)
            continue
        attributes = {attribute.name: _attribute(attribute, names, own) for attribute in node.attribute}
        nodes.append(Node(operator, tuple(node.input), tuple(node.output), attributes))
    given = constants.keys() | weights.keys()
    return Graph(
        nodes=tuple(nodes),
        inputs=tuple(_input(value) for value in graph.input if value.name not in given),
        outputs=tuple(value.name for value in graph.output),
        constants=constants,
        weights=weights,
    )


def _operator(node: Any) -> str:  # noqa: ANN401 # a NodeProto
    """Return the name of a node's operator, with its domain unless that is ONNX itself. Raises `NernError`."""
    name: str = node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}"
    if name not in OPERATORS and name not in BRANCHES:
        raise unsupported_operator(f"the operator {quoted(name)}")
    return name


def _attribute(attribute: Any, names: Iterator[str], own: AbstractSet[str]) -> Any:  # noqa: ANN401 # an AttributeProto, and its value
    kinds = import_onnx().AttributeProto
    if attribute.type == kinds.GRAPH:
        return _read(attribute.g, names, own)
    if attribute.type == kinds.TENSOR:
        return _values(attribute.t)
    if attribute.type == kinds.STRING:
        return attribute.s.decode(errors="replace")
    if attribute.type == kinds.STRINGS:
        return [text.decode(errors="replace") for text in attribute.strings]
    if attribute.type in {kinds.FLOATS, kinds.INTS}:
        return list(attribute.floats if attribute.type == kinds.FLOATS else attribute.ints)
    # Of a type that is neither, an operator that reads it fails.
    return attribute.f if attribute.type == kinds.FLOAT else attribute.i


def _values(tensor: Any) -> Tensor:  # noqa: ANN401 # a TensorProto
    """Return the values of a constant, in the dtype that is computed in."""
    onnx = import_onnx()
    try:
        array = onnx.numpy_helper.to_array(tensor)
        return computed(torch.from_numpy(array.astype(_IN_PLACE_OF.get(array.dtype.name, array.dtype))))
    except (TypeError, ValueError, KeyError) as error:
        raise damaged(f"its constant {quoted(tensor.name)} has no readable values") from error


def _input(value: Any) -> Input:  # noqa: ANN401 # a ValueInfoProto
    of_tensor = value.type.tensor_type
    shape: tuple[int | None, ...] | None = None
    if of_tensor.HasField("shape"):
        sizes = [axis.dim_value if axis.HasField("dim_value") else 0 for axis in of_tensor.shape.dim]
        shape = tuple(size if size > 0 else None for size in sizes)
    return Input(value.name, shape, of_tensor.elem_type in {1, 10, 11, 16})
