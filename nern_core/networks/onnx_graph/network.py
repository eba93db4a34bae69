"""A network that runs the graph of an ONNX file with torch's operators."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import torch
from torch import Tensor, nn

from nern_core.contract.errors import NernError, quoted, reason_of
from nern_core.contract.plural import plural
from nern_core.contract.system_errors import is_out_of_memory
from nern_core.networks.onnx_graph.graph import BatchNorm, Graph, Input, Node, read_graph
from nern_core.networks.onnx_graph.operators import OPERATORS, Call
from nern_core.networks.onnx_graph.operators.call import Result, Value, computed, unsupported
from nern_core.tensors.onnx_files import PROGRAM, names_in_modules, parse_model, weight_names

_MOST_ITERATIONS: Final = 10_000
_OPSET_OF_SCAN: Final = 9


def build_onnx_network(graph: bytes, tensors: Mapping[str, Tensor]) -> "OnnxNetwork":
    """Build the network of a graph with the tensors of its checkpoint.

    Raises `NernError`: `unsupported_operator` names the first operator that cannot be computed.
    """
    model = parse_model(graph)
    program, opset = read_graph(model)
    return OnnxNetwork(program, opset, names_in_modules(weight_names(model)), tensors)


class OnnxNetwork(nn.Module):
    """The graph of an ONNX file. Its state dict has the weights of the file, under their names in the checkpoint.

    What is kept exactly, such as running means and single numbers, are buffers. Networks in half precision are computed
    in float32.
    """

    def __init__(self, graph: Graph, opset: int, names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
        """`names` are those in the checkpoint by those in the file."""
        super().__init__()
        exact = graph.exact()
        for name, in_checkpoint in names.items():
            tensor = tensors[in_checkpoint].clone()
            # Single numbers, such as the 0.5 of an activation, are constants more often than not.
            _register(self, in_checkpoint, tensor, is_parameter=name not in exact and tensor.numel() > 1)
        setattr(self, PROGRAM, _Program(graph, opset, names))

    @property
    def graph_inputs(self) -> tuple[Input, ...]:
        """Return the inputs that a call must give."""
        program: _Program = getattr(self, PROGRAM)
        return program.graph.inputs

    def batch_norms(self) -> Iterator[BatchNorm]:
        """Yield the batch normalizations whose tensors are weights that nothing else uses."""
        program: _Program = getattr(self, PROGRAM)
        return (norm.renamed(program.names) for norm in program.graph.batch_norms())

    def forward(self, *arguments: Tensor, **named: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name, given the inputs in their order or by name.

        Raises `OperatorError` if an operator fails, and `NernError` (`bad_data` for other inputs,
        `unsupported_operator`, `unreadable_checkpoint`).
        """
        program: _Program = getattr(self, PROGRAM)
        expected = [of.name for of in program.graph.inputs]
        given = {**dict(zip(expected, arguments, strict=False)), **named}
        if len(arguments) > len(expected):
            raise NernError(
                "bad_data",
                f"The ONNX network takes {len(expected)} {plural(len(expected), 'input', 'inputs')} "
                f"({', '.join(map(quoted, expected))}), not {len(arguments)}.",
            )
        if set(given) != set(expected):
            raise NernError(
                "bad_data",
                f"The ONNX network takes the inputs {', '.join(map(quoted, expected))}, not "
                f"{', '.join(map(quoted, given)) or 'none'}.",
            )
        return program.run(self, given)


class _Program:
    """Runs a graph. The weights are read from the module at each call, because training replaces them."""

    def __init__(self, graph: Graph, opset: int, names: Mapping[str, str]) -> None:
        self.graph = graph
        self.names = names
        self._opset = opset
        self._weights = {name: attrgetter(in_checkpoint) for name, in_checkpoint in names.items()}
        self._released = _released(graph)

    def run(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs."""
        weights = {name: computed(read(module)) for name, read in self._weights.items()}
        scope = _Scope(weights, {name: computed(tensor) for name, tensor in inputs.items()})
        found = self._run(self.graph, scope, self._released)
        outputs = {name: value for name, value in zip(self.graph.outputs, found, strict=True) if value is not None}
        for name, value in outputs.items():
            if not isinstance(value, Tensor):
                raise unsupported(f"a sequence as its output {quoted(name)}")
        return {name: value for name, value in outputs.items() if isinstance(value, Tensor)}

    def _run(self, graph: Graph, scope: "_Scope", released: tuple[tuple[str, ...], ...] = ()) -> list[Value]:
        """Run the nodes of a graph, whose inputs are in the scope; its values are added there."""
        values = scope.values
        values.update(graph.constants)
        values.update((name, scope.weights[of]) for name, of in graph.weights.items())
        for position, node in enumerate(graph.nodes):
            with _failures_named(node):
                results = self._results(node, scope)
            values.update(zip((name for name in node.outputs), results, strict=False))
            for name in released[position] if released else ():
                values.pop(name, None)
        return [_value(values, name) for name in graph.outputs]

    def _results(self, node: Node, scope: "_Scope") -> list[Value]:
        inputs = [_value(scope.values, name) if name else None for name in node.inputs]
        if node.operator == "If":
            return self._branch(node, inputs, scope)
        if node.operator == "Loop":
            return self._loop(node, inputs, scope)
        if node.operator == "Scan":
            return self._scan(node, inputs, scope)
        call = Call(node.attributes, _last_used(node), self._opset)
        result: Result = OPERATORS[node.operator](call, *inputs)
        return [result] if isinstance(result, Tensor) else list(result)

    def _branch(self, node: Node, inputs: list[Value], scope: "_Scope") -> list[Value]:
        (condition,) = inputs
        assert isinstance(condition, Tensor)
        branch = node.attributes["then_branch" if bool(condition) else "else_branch"]
        return self._run(branch, scope.inner({}))

    def _loop(self, node: Node, inputs: list[Value], scope: "_Scope") -> list[Value]:
        """Run the body until its condition is false; collect what it yields in each iteration."""
        body: Graph = node.attributes["body"]
        limit, condition, *carried = inputs
        most = int(limit) if isinstance(limit, Tensor) else _MOST_ITERATIONS + 1
        runs, count = condition is None or bool(condition), 0
        collected: list[list[Tensor]] = [[] for _ in body.outputs[1 + len(carried) :]]
        while runs and count < most:
            if count >= _MOST_ITERATIONS:
                raise unsupported(f"a loop of more than {_MOST_ITERATIONS:,} iterations")
            given = [torch.tensor(count), torch.tensor(True), *carried]  # a value
            names = [of.name for of in body.inputs]
            after = self._run(body, scope.inner(dict(zip(names, given, strict=True))))
            carried = after[1 : 1 + len(carried)]
            for part, value in zip(collected, after[1 + len(carried) :], strict=True):
                assert isinstance(value, Tensor)
                part.append(value)
            runs, count = bool(after[0]), count + 1
        return [*carried, *(torch.stack(part) if part else torch.empty(0) for part in collected)]

    def _scan(self, node: Node, inputs: list[Value], scope: "_Scope") -> list[Value]:
        """Run the body for each part of the scanned inputs, along their axes; collect what it yields."""
        if self._opset < _OPSET_OF_SCAN:
            raise unsupported("Scan of a version before 9")
        body: Graph = node.attributes["body"]
        scanned = [value for value in inputs[-node.attributes["num_scan_inputs"] :] if isinstance(value, Tensor)]
        carried = inputs[: -len(scanned)]
        axes = node.attributes.get("scan_input_axes") or [0] * len(scanned)
        backwards = node.attributes.get("scan_input_directions") or [0] * len(scanned)
        moved = [value.movedim(axis, 0) for value, axis in zip(scanned, axes, strict=True)]
        moved = [value.flip(0) if back else value for value, back in zip(moved, backwards, strict=True)]
        collected: list[list[Tensor]] = [[] for _ in body.outputs[len(carried) :]]
        for parts in zip(*moved, strict=True):
            given = dict(zip((of.name for of in body.inputs), [*carried, *parts], strict=True))
            after = self._run(body, scope.inner(given))
            carried = after[: len(carried)]
            for of_output, value in zip(collected, after[len(carried) :], strict=True):
                assert isinstance(value, Tensor)
                of_output.append(value)
        out_axes = node.attributes.get("scan_output_axes") or [0] * len(collected)
        out_backwards = node.attributes.get("scan_output_directions") or [0] * len(collected)
        joined = zip(collected, out_axes, out_backwards, strict=True)
        return [*carried, *(torch.stack(of[::-1] if back else of, dim=axis) for of, axis, back in joined)]


class OperatorError(RuntimeError):
    """An operator that fails, in its network or for these inputs; the message names it."""


@contextmanager
def _failures_named(node: Node) -> Iterator[None]:
    """Raise `OperatorError` for what the computation of a node raises, except for lack of memory."""
    try:
        yield
    except (NernError, OperatorError):
        raise
    except Exception as error:  # the graph is a stranger's
        if is_out_of_memory(error):
            raise
        reason = f"it has no {error}" if isinstance(error, KeyError) else reason_of(error)
        raise OperatorError(f"its operator {quoted(node.operator)} fails: {reason}") from error


@dataclass(frozen=True, slots=True)
class _Scope:
    """The weights, by their names in the file, and the values that the nodes of a graph can use, by name."""

    weights: Mapping[str, Tensor]
    values: dict[str, Value]

    def inner(self, values: Mapping[str, Value]) -> "_Scope":
        """Return the scope of a graph within this one, with these values of its own."""
        return _Scope(self.weights, {**self.values, **values})


def _value(values: Mapping[str, Value], name: str) -> Value:
    if name not in values:
        raise NernError("unreadable_checkpoint", f"The ONNX file uses a value {quoted(name)} before it is computed.")
    return values[name]


def _last_used(node: Node) -> int:
    """Return the number of outputs up to the last one that has a name."""
    return max((place for place, name in enumerate(node.outputs, 1) if name), default=0)


def _released(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Return, for each node, the values that no later one uses."""
    last: dict[str, int] = {}
    for position, node in enumerate(graph.nodes):
        within = set[str]().union(*(branch.used() for branch in node.branches()))
        for name in (*node.inputs, *node.outputs, *within):
            last[name] = position
    kept = set(graph.outputs)
    by_node: list[list[str]] = [[] for _ in graph.nodes]
    for name, position in last.items():
        if name and name not in kept:
            by_node[position].append(name)
    return tuple(map(tuple, by_node))


def _register(module: nn.Module, name: str, tensor: Tensor, *, is_parameter: bool) -> None:
    """Register a tensor under a dotted name, in modules for the parts before the last one."""
    *parts, last = name.split(".")
    for part in parts:
        inner: Any = module._modules.get(part)  # noqa: SLF001 # getattr would raise
        if inner is None:
            inner = nn.Module()
            module.add_module(part, inner)
        module = inner
    if is_parameter:
        module.register_parameter(last, nn.Parameter(tensor))
    else:
        module.register_buffer(last, tensor)
