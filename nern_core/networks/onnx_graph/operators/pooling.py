"""Maxima and means of windows, and of all spatial axes."""

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from nern_core.networks.onnx_graph.operators.call import Call, integers, operator, together, unsupported
from nern_core.networks.onnx_graph.operators.windows import Windows

_MAXIMA: Final[tuple[Callable[..., Tensor], ...]] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_MEANS: Final[tuple[Callable[..., Tensor], ...]] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


@operator("MaxPool")
def max_pool(call: Call, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    windows, ceil = Windows.of(call, x, call.get("kernel_shape")), bool(call.get("ceil_mode", 0))
    if call.outputs > 1:
        return _max_pool_with_indices(call, x, windows, ceil=ceil)
    padding: int | tuple[int, ...] = windows.before
    if not windows.fits_pooling or not x.is_floating_point():
        lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
        after = windows.with_last(x) if ceil else windows.after
        dtype, x = x.dtype, x if x.is_floating_point() else x.double()
        x, padding, ceil = F.pad(x, _pads(windows.before, after), value=lowest), 0, False
        pooled = _MAXIMA[len(windows.sizes) - 1](
            x, windows.sizes, windows.strides, padding=padding, dilation=windows.dilations, ceil_mode=ceil
        )
        return pooled.to(dtype)
    return _MAXIMA[len(windows.sizes) - 1](
        x, windows.sizes, windows.strides, padding=padding, dilation=windows.dilations, ceil_mode=ceil
    )


def _max_pool_with_indices(call: Call, x: Tensor, windows: Windows, *, ceil: bool) -> tuple[Tensor, Tensor]:
    """Return maxima, and their places in the whole tensor."""
    if not windows.fits_pooling or call.get("storage_order", 0) or not x.is_floating_point():
        raise unsupported("the indices of MaxPool with these pads, this order or integers")
    pooled, places = _MAXIMA[len(windows.sizes) - 1](
        x,
        windows.sizes,
        windows.strides,
        padding=windows.before,
        dilation=windows.dilations,
        ceil_mode=ceil,
        return_indices=True,
    )
    channels = torch.arange(x.shape[0] * x.shape[1], device=x.device) * x.shape[2:].numel()
    return pooled, places + channels.reshape(*x.shape[:2], *(1,) * (x.ndim - 2))


@operator("MaxUnpool")
def max_unpool(call: Call, x: Tensor, places: Tensor, wanted: Tensor | None = None) -> Tensor:
    x, places = together(x, places)
    windows = Windows.of(call, x, call.get("kernel_shape"))
    parts = zip(x.shape[2:], windows.strides, windows.sizes, windows.before, windows.after, strict=True)
    inner = [(length - 1) * stride + size - before - after for length, stride, size, before, after in parts]
    shape = [*x.shape[:2], *inner]
    # The places are those in a tensor of that size, also if the output is larger.
    filled = x.new_zeros(math.prod(shape)).scatter(0, places.flatten(), x.flatten()).reshape(shape)
    if wanted is None:
        return filled
    sizes = integers(wanted)
    return F.pad(filled, [pad for axis in reversed(range(2, x.ndim)) for pad in (0, sizes[axis] - shape[axis])])


@operator("AveragePool")
def average_pool(call: Call, x: Tensor) -> Tensor:
    windows = Windows.of(call, x, call.get("kernel_shape"))
    ceil, counts_pads = bool(call.get("ceil_mode", 0)), bool(call.get("count_include_pad", 0))
    if windows.fits_pooling and set(windows.dilations) == {1}:
        return _MEANS[len(windows.sizes) - 1](
            x,
            windows.sizes,
            windows.strides,
            padding=windows.before,
            ceil_mode=ceil,
            count_include_pad=counts_pads,
        )
    pads = _pads(windows.before, windows.with_last(x) if ceil else windows.after)
    ones = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
    if counts_pads:
        counted = F.pad(F.pad(ones, windows.pads, value=1.0), [a - b for a, b in zip(pads, windows.pads, strict=True)])
    else:
        counted = F.pad(ones, pads)
    return _sums(F.pad(x, pads), windows) / _sums(counted, windows)


def _sums(x: Tensor, windows: Windows) -> Tensor:
    """Return the sums of windows, each channel by itself."""
    axes = len(windows.sizes)
    kernel = torch.ones(1, 1, *windows.sizes, dtype=x.dtype, device=x.device)
    summed = torch.convolution(
        x.reshape(-1, 1, *x.shape[2:]),
        kernel,
        None,
        windows.strides,
        (0,) * axes,
        windows.dilations,
        False,  # torch takes it by position
        (0,) * axes,
        1,
    )
    return summed.reshape(*x.shape[:2], *summed.shape[2:])


def _pads(before: tuple[int, ...], after: tuple[int, ...]) -> list[int]:
    return [pad for pair in zip(reversed(before), reversed(after), strict=True) for pad in pair]


@operator("GlobalAveragePool")
def global_average_pool(call: Call, x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(call: Call, x: Tensor) -> Tensor:
    return x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)


@operator("LpPool")
def lp_pool(call: Call, x: Tensor) -> Tensor:
    windows, order = Windows.of(call, x, call.get("kernel_shape")), call.get("p", 2)
    after = windows.with_last(x) if call.get("ceil_mode", 0) else windows.after
    return _sums(F.pad(x, _pads(windows.before, after)).abs().pow(order), windows).pow(1 / order)
