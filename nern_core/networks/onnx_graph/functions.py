"""Functions that a model defines itself, put in place of their calls."""

from collections.abc import Mapping
from typing import Any, Final

from nern_core.contract.errors import quoted
from nern_core.formats.onnx_files import LARGEST_GRAPH
from nern_core.formats.onnx_files.problems import unsupported

_Name = tuple[str, str, str]
_DEEPEST_CALL: Final = 50
_WITHOUT_FUNCTIONS: Final = "export it without functions, or omit the data to encode its weights as they are"


def inlined(model: Any) -> Any:  # noqa: ANN401 # a ModelProto, untyped here
    """Return the model without functions of its own. Raises `NernError` (`unsupported_format`) if that is too large."""
    if not model.functions:
        return model
    _check_size(model)
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:  # the checker and the converter of versions have types of their own
        names = ", ".join(quoted(function.name) for function in model.functions[:3])
        raise unsupported(f"has functions of its own, {names}, that cannot be inlined", _WITHOUT_FUNCTIONS) from error


def _check_size(model: Any) -> None:  # noqa: ANN401 # a ModelProto
    """Refuse functions that call themselves, or whose calls in each other take too much room."""
    functions = {_called(function.domain, function.name, function.overload): function for function in model.functions}
    sizes: dict[_Name, int | None] = {}
    total = sum(_size_of_node(node, functions, sizes) for node in model.graph.node)
    if total > LARGEST_GRAPH:
        raise unsupported(f"has functions that take {total:,} bytes, more than {LARGEST_GRAPH:,}", _WITHOUT_FUNCTIONS)


def _size_of_node(node: Any, functions: Mapping[_Name, Any], sizes: dict[_Name, int | None]) -> int:  # noqa: ANN401 # a NodeProto
    """Return the bytes of a node with the functions that it calls; `sizes` are those of functions seen so far."""
    size = int(node.ByteSize())
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            size += sum(_size_of_node(inner, functions, sizes) for inner in graph.node)
    name = _called(node.domain, node.op_type, node.overload)
    return size + (_size_of_function(name, functions, sizes) if name in functions else 0)


def _size_of_function(name: _Name, functions: Mapping[_Name, Any], sizes: dict[_Name, int | None]) -> int:
    if name not in sizes:
        # Unknown until those of all of its nodes are known.
        sizes[name] = None
        if sum(size is None for size in sizes.values()) > _DEEPEST_CALL:
            raise unsupported(f"has functions that call each other more than {_DEEPEST_CALL} deep", _WITHOUT_FUNCTIONS)
        sizes[name] = sum(_size_of_node(node, functions, sizes) for node in functions[name].node)
    size = sizes[name]
    if size is None:
        raise unsupported(f"has a function {quoted(name[1])} that calls itself", _WITHOUT_FUNCTIONS)
    return size


def _called(domain: str, name: str, overload: str) -> _Name:
    return ("" if domain == "ai.onnx" else domain, name, overload)
