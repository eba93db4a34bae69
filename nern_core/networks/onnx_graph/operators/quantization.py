"""Quantized values: integers with a scale and a zero point.

Quantized values of a network in training are whole numbers of a floating-point type, and rounding passes gradients
through unchanged (straight through).
"""

from typing import Final

import torch
from torch import Tensor

from nern_core.networks.onnx_graph.operators.call import Call, dtype_of, operator, together, unsupported
from nern_core.networks.onnx_graph.operators.convolutions import conv

_INTEGERS: Final = {torch.int8, torch.uint8, torch.int16, torch.int32}
_UINT8: Final = 2


def _aligned(call: Call, part: Tensor, x: Tensor) -> Tensor:
    """Return a scale or a zero point, of all values, of channels or of blocks, in a shape that is broadcast to `x`."""
    if part.numel() == 1:
        return part.reshape(())
    axis = call.get("axis", 1) % x.ndim
    block = call.get("block_size", 0)
    if block:
        return part.repeat_interleave(block, dim=axis).narrow(axis, 0, x.shape[axis])
    return part.reshape([-1 if other == axis else 1 for other in range(x.ndim)])


@operator("DequantizeLinear")
def dequantize(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    x, scale = together(x, scale)
    values = x.to(scale.dtype)
    if zero is not None:
        values = values - _aligned(call, zero.to(x.device), x).to(scale.dtype)
    return values * _aligned(call, scale, x)


@operator("QuantizeLinear")
def quantize(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    x, scale = together(x, scale)
    number = call.get("output_dtype", 0)
    dtype = dtype_of(number or _UINT8) if zero is None else zero.dtype
    if dtype not in _INTEGERS:
        raise unsupported("quantized values that are no integers of 8 to 32 bits")
    quotients = x / _aligned(call, scale, x)
    shift = torch.zeros((), device=x.device) if zero is None else _aligned(call, zero.to(x.device), x)
    return _as_integers(quotients, shift, dtype)


@operator("DynamicQuantizeLinear")
def dynamic_quantize(call: Call, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = (bound.detach().clamp(**limit) for bound, limit in ((x.min(), {"max": 0}), (x.max(), {"min": 0})))
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = (-low / scale).clamp(0, 255).round().to(torch.uint8)
    return _as_integers(x / scale, zero, torch.uint8), scale, zero


def _as_integers(quotients: Tensor, zero: Tensor, dtype: torch.dtype) -> Tensor:
    """Round, move by the zero point and clamp to the range of a dtype; the result has it unless it has gradients."""
    limits = torch.iinfo(dtype)
    if not quotients.requires_grad:
        return (quotients.round().double() + zero).clamp(limits.min, limits.max).to(dtype)
    rounded = quotients + (quotients.round() - quotients).detach()
    return (rounded + zero.to(quotients.dtype)).clamp(limits.min, limits.max)


@operator("MatMulInteger")
def matmul_integer(
    call: Call, a: Tensor, b: Tensor, zero_of_a: Tensor | None = None, zero_of_b: Tensor | None = None
) -> Tensor:
    a, b = together(a, b)
    # Sums of products of 8-bit integers are exact in float64.
    a, b = a.double(), b.double()
    if zero_of_a is not None:
        # One number for each row.
        a = a - (zero_of_a.unsqueeze(-1) if zero_of_a.ndim else zero_of_a).to(a.device).double()
    if zero_of_b is not None:
        b = b - zero_of_b.to(b.device).double()
    return _as_int32(torch.matmul(a, b))


@operator("ConvInteger")
def conv_integer(
    call: Call, x: Tensor, weight: Tensor, zero_of_x: Tensor | None = None, zero_of_weight: Tensor | None = None
) -> Tensor:
    x, weight = together(x, weight)
    x, weight = x.double(), weight.double()
    if zero_of_x is not None:
        x = x - zero_of_x.to(x.device).double()
    if zero_of_weight is not None:
        shift = zero_of_weight.to(weight.device).double()
        weight = weight - shift.reshape([-1, *(1,) * (weight.ndim - 1)] if shift.numel() > 1 else ())
    return _as_int32(conv(call, x, weight))


def _as_int32(values: Tensor) -> Tensor:
    return values if values.requires_grad else values.to(torch.int32)
