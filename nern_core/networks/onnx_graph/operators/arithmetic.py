"""Functions of single values and of pairs of them, and products of matrices."""

from collections.abc import Callable
from functools import partial, reduce
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from nern_core.networks.onnx_graph.operators.call import OPERATORS, Call, dtype_of, operator, together, unsupported

_UNARY: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
_BINARY: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "Add": torch.add,
    "Mul": torch.mul,
    "Sub": torch.sub,
}
_OF_MANY: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Sum": torch.add,
}


def _unary(function: Callable[[Tensor], Tensor], call: Call, x: Tensor) -> Tensor:
    return function(x)


def _binary(function: Callable[[Tensor, Tensor], Tensor], call: Call, a: Tensor, b: Tensor) -> Tensor:
    return function(*together(a, b))


def _of_many(function: Callable[[Tensor, Tensor], Tensor], call: Call, *tensors: Tensor) -> Tensor:
    return reduce(function, together(*tensors))


for _name, _function in _UNARY.items():
    OPERATORS[_name] = partial(_unary, _function)
for _name, _pair in _BINARY.items():
    OPERATORS[_name] = partial(_binary, _pair)
for _name, _pair in _OF_MANY.items():
    OPERATORS[_name] = partial(_of_many, _pair)


@operator("Mean")
def mean(call: Call, *tensors: Tensor) -> Tensor:
    return torch.stack(list(torch.broadcast_tensors(*together(*tensors)))).mean(dim=0)


@operator("Div")
def div(call: Call, a: Tensor, b: Tensor) -> Tensor:
    a, b = together(a, b)
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


@operator("Mod")
def mod(call: Call, a: Tensor, b: Tensor) -> Tensor:
    a, b = together(a, b)
    return torch.fmod(a, b) if call.get("fmod", 0) else torch.remainder(a, b)


@operator("Pow")
def power(call: Call, a: Tensor, b: Tensor) -> Tensor:
    a, b = together(a, b)
    return torch.pow(a, b).to(a.dtype)


@operator("PRelu")
def prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    x, slope = together(x, slope)
    return torch.where(x < 0, x * slope, x)


@operator("LeakyRelu")
def leaky_relu(call: Call, x: Tensor) -> Tensor:
    return F.leaky_relu(x, call.get("alpha", 0.01))


@operator("ThresholdedRelu")
def thresholded_relu(call: Call, x: Tensor) -> Tensor:
    return torch.where(x > call.get("alpha", 1.0), x, torch.zeros_like(x))


@operator("Elu")
def elu(call: Call, x: Tensor) -> Tensor:
    return F.elu(x, call.get("alpha", 1.0))


@operator("Celu")
def celu(call: Call, x: Tensor) -> Tensor:
    return F.celu(x, call.get("alpha", 1.0))


@operator("Selu")
def selu(call: Call, x: Tensor) -> Tensor:
    alpha, gamma = call.get("alpha", 1.6732632423543772), call.get("gamma", 1.0507009873554805)
    return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0))).mul(gamma)


@operator("HardSigmoid")
def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    return x.mul(call.get("alpha", 0.2)).add(call.get("beta", 0.5)).clamp(0, 1)


@operator("Gelu")
def gelu(call: Call, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=call.get("approximate", "none"))


@operator("Swish")
def swish(call: Call, x: Tensor) -> Tensor:
    return x * torch.sigmoid(call.get("alpha", 1.0) * x)


@operator("Shrink")
def shrink(call: Call, x: Tensor) -> Tensor:
    limit, bias = call.get("lambd", 0.5), call.get("bias", 0.0)
    inner = torch.where(x > limit, x - bias, torch.zeros_like(x))
    return torch.where(x < -limit, x + bias, inner)


@operator("Clip")
def clip(call: Call, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if "min" in call.attributes or "max" in call.attributes:
        return x.clamp(call.get("min"), call.get("max"))
    if low is None and high is None:
        return x
    bounds = [None if bound is None else bound.to(device=x.device, dtype=x.dtype) for bound in (low, high)]
    if x.device.type == "cpu" and not any(bound is not None and bound.requires_grad for bound in bounds):
        # Twice as fast as with tensors.
        return x.clamp(*(None if bound is None else bound.item() for bound in bounds))
    return x.clamp(*bounds)


@operator("Cast")
def cast(call: Call, x: Tensor) -> Tensor:
    return x.to(dtype_of(call.get("to")))


@operator("CastLike")
def cast_like(call: Call, x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


@operator("Dropout")
def dropout(
    call: Call, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    if training is not None and bool(training):
        raise unsupported("Dropout in training mode")
    return x, torch.ones_like(x, dtype=torch.bool)


@operator("MatMul")
def matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(*together(a, b))


@operator("Gemm")
def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = together(a, b)
    product = torch.matmul(a.t() if call.get("transA", 0) else a, b.t() if call.get("transB", 0) else b)
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    if alpha != 1.0:
        product = product * alpha
    if c is None:
        return product
    return product + (c if beta == 1.0 else c * beta).to(product.device)


@operator("Einsum")
def einsum(call: Call, *tensors: Tensor) -> Tensor:
    return torch.einsum(call.get("equation"), *together(*tensors))
