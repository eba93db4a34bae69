"""Sums, means, extremes and other reductions along axes."""

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import Tensor

from nern_core.networks.onnx_graph.operators.call import OPERATORS, Call, list_of, operator

_Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(dim=axis, keepdim=keep)
    return x


_REDUCTIONS: Final[dict[str, _Reduction]] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(dim=axes, keepdim=keep, dtype=x.dtype),
    "ReduceL2": lambda x, axes, keep: x.double().square().sum(dim=axes, keepdim=keep).sqrt().to(x.dtype),
    "ReduceLogSum": lambda x, axes, keep: x.sum(dim=axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, dim=axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: x.amax(dim=axes, keepdim=keep),
    "ReduceMean": lambda x, axes, keep: x.mean(dim=axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(dim=axes, keepdim=keep),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(dim=axes, keepdim=keep, dtype=x.dtype),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(dim=axes, keepdim=keep, dtype=x.dtype),
}
_OF_NOTHING: Final = {"ReduceMax": -math.inf, "ReduceMin": math.inf}


def _reduce(name: str, call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = list_of(call, "axes", axes)
    if not chosen:
        if call.get("noop_with_empty_axes", 0):
            chosen = []
            # The reduction of each value alone.
            x = x[..., None]
            return _REDUCTIONS[name](x, [-1], False)
        chosen = list(range(x.ndim))
    keep = bool(call.get("keepdims", 1))
    if not chosen:
        return x
    if not x.numel() and name in _OF_NOTHING:
        shape = [1 if axis in {at % x.ndim for at in chosen} else size for axis, size in enumerate(x.shape)]
        nothing = _OF_NOTHING[name] if x.is_floating_point() else name == "ReduceMin"
        filled = x.new_full(shape, nothing)
        return filled if keep else filled.squeeze(dim=tuple(chosen))
    return _REDUCTIONS[name](x, chosen, keep)


for _name in _REDUCTIONS:
    OPERATORS[_name] = partial(_reduce, _name)


def _extreme(find: Callable[..., Tensor], call: Call, x: Tensor) -> Tensor:
    axis, keep = call.get("axis", 0), bool(call.get("keepdims", 1))
    if call.get("select_last_index", 0):
        return torch.rsub(find(x.flip(axis), dim=axis, keepdim=keep), x.shape[axis] - 1)
    return find(x, dim=axis, keepdim=keep)


OPERATORS["ArgMax"] = partial(_extreme, torch.argmax)
OPERATORS["ArgMin"] = partial(_extreme, torch.argmin)


@operator("TopK")
def top_k(call: Call, x: Tensor, count: Tensor | None = None) -> tuple[Tensor, Tensor]:
    chosen = int(call.get("k") if count is None else count)
    # Of equal values, the first ones.
    axis = call.get("axis", -1)
    values, indices = x.sort(dim=axis, descending=bool(call.get("largest", 1)), stable=True)
    return values.narrow(axis, 0, chosen), indices.narrow(axis, 0, chosen)


def _cumulative(function: Callable[..., Tensor], first: float, call: Call, x: Tensor, axis: Tensor) -> Tensor:
    along = int(axis)
    backwards = bool(call.get("reverse", 0))
    found = function(x.flip(along) if backwards else x, dim=along, dtype=x.dtype)
    if call.get("exclusive", 0):
        before = torch.full_like(found.narrow(along, 0, 1), first)
        found = torch.cat([before, found.narrow(along, 0, x.shape[along] - 1)], dim=along)
    return found.flip(along) if backwards else found


OPERATORS["CumSum"] = partial(_cumulative, torch.cumsum, 0.0)
OPERATORS["CumProd"] = partial(_cumulative, torch.cumprod, 1.0)


@operator("Softmax")
def softmax(call: Call, x: Tensor) -> Tensor:
    return _softmax(torch.softmax, call, x)


@operator("LogSoftmax")
def log_softmax(call: Call, x: Tensor) -> Tensor:
    return _softmax(torch.log_softmax, call, x)


def _softmax(function: Callable[..., Tensor], call: Call, x: Tensor) -> Tensor:
    if call.opset >= 13:
        return function(x, dim=call.get("axis", -1))
    # All axes from this one on together.
    axis = call.get("axis", 1) % max(x.ndim, 1)
    return function(x.flatten(axis), dim=axis).view(x.shape)


@operator("Hardmax")
def hardmax(call: Call, x: Tensor) -> Tensor:
    axis = call.get("axis", -1 if call.opset >= 13 else 1)
    flat = x if call.opset >= 13 else x.flatten(axis % max(x.ndim, 1))
    along = axis if call.opset >= 13 else -1
    places = flat.argmax(dim=along, keepdim=True)
    return torch.zeros_like(flat).scatter(along, places, 1.0).view(x.shape)
