"""One call of an operator, the table of all operators, and what most of them need.

Integers that describe shapes stay on the CPU, wherever the network is; `together` moves tensors that are computed with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import torch
from torch import Tensor

from nern_core.contract.errors import NernError

# A tensor, a sequence of tensors, or None for one that is omitted.
Value: TypeAlias = Tensor | list[Tensor] | None
Result: TypeAlias = Tensor | Sequence[Value]
Operator: TypeAlias = Callable[..., Result]
_Function = TypeVar("_Function", bound=Operator)
OPERATORS: Final[dict[str, Operator]] = {}
# Numbers of ONNX's types. Networks in half precision are computed in float32, because training needs it.
DTYPES: Final = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    # torch does not compute with other unsigned integers.
    4: torch.int32,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float32,
    11: torch.float64,
    12: torch.int64,
    13: torch.int64,
    16: torch.float32,
}
_HALVES: Final = {torch.float16, torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Call:
    """The attributes of a node, the number of its outputs that are used, and the version of the operators."""

    attributes: Mapping[str, Any]
    outputs: int
    opset: int

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 # a number, a text, a list, a tensor
        """Return an attribute."""
        return self.attributes.get(name, default)


def operator(*names: str) -> Callable[[_Function], _Function]:
    """Register a function for operators of these names: it takes a `Call` and the inputs, None for omitted ones."""

    def register(function: _Function) -> _Function:
        for name in names:
            OPERATORS[name] = function
        return function

    return register


def computed(tensor: Tensor) -> Tensor:
    """Return a tensor in the dtype that it is computed in."""
    return tensor.float() if tensor.dtype in _HALVES else tensor


def dtype_of(number: int) -> torch.dtype:
    """Return the dtype of a type of ONNX. Raises `NernError` (`unsupported_operator`)."""
    if number not in DTYPES:
        raise unsupported(f"values of ONNX's type {number}")
    return DTYPES[number]


def together(*tensors: Tensor) -> list[Tensor]:
    """Move all tensors to the device of the first one that is not on the CPU."""
    device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), None)
    return list(tensors) if device is None else [tensor.to(device) for tensor in tensors]


def integers(tensor: Tensor) -> list[int]:
    """Return the values of a tensor of any shape."""
    return [int(value) for value in tensor.flatten().tolist()]


def list_of(call: Call, name: str, given: Tensor | None) -> list[int] | None:
    """Return integers that newer versions of an operator take as an input and older ones as an attribute."""
    if given is not None:
        return integers(given)
    found: list[int] | None = call.get(name)
    return found


def unsupported(what: str) -> NernError:
    """Make the error for a network that cannot be computed here."""
    return NernError(
        "unsupported_operator",
        f"The ONNX network uses {what}, which cannot be trained here; omit the data to encode its weights as they are.",
    )
