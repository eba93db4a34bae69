"""Comparisons, bits of integers, and choices between values."""

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import Tensor

from nern_core.networks.onnx_graph.operators.call import OPERATORS, Call, operator, together

_PAIRS: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
}


def _pair(function: Callable[[Tensor, Tensor], Tensor], call: Call, a: Tensor, b: Tensor) -> Tensor:
    return function(*together(a, b))


for _name, _function in _PAIRS.items():
    OPERATORS[_name] = partial(_pair, _function)


@operator("Not")
def not_(call: Call, x: Tensor) -> Tensor:
    return torch.logical_not(x)


@operator("BitwiseNot")
def bitwise_not(call: Call, x: Tensor) -> Tensor:
    return torch.bitwise_not(x)


@operator("BitShift")
def bit_shift(call: Call, a: Tensor, b: Tensor) -> Tensor:
    a, b = together(a, b)
    return torch.bitwise_left_shift(a, b) if call.get("direction") == "LEFT" else torch.bitwise_right_shift(a, b)


@operator("IsNaN")
def is_nan(call: Call, x: Tensor) -> Tensor:
    return torch.isnan(x)


@operator("IsInf")
def is_inf(call: Call, x: Tensor) -> Tensor:
    positive, negative = call.get("detect_positive", 1), call.get("detect_negative", 1)
    return (torch.isposinf(x) & bool(positive)) | (torch.isneginf(x) & bool(negative))


@operator("Where")
def where(call: Call, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    condition, a, b = together(condition, a, b)
    return torch.where(condition, a, b)
