"""Shapes: changing them, reading them, and tensors made from them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nern_core.networks.onnx_graph.operators.call import (
    Call,
    computed,
    dtype_of,
    integers,
    list_of,
    operator,
    together,
    unsupported,
)


@operator("Shape")
def shape(call: Call, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[call.get("start", 0) : call.get("end")], dtype=torch.int64)


@operator("Size")
def size(call: Call, x: Tensor) -> Tensor:
    return torch.tensor(x.numel())


@operator("Reshape")
def reshape(call: Call, x: Tensor, wanted: Tensor) -> Tensor:
    sizes = integers(wanted)
    if not call.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


@operator("Flatten")
def flatten(call: Call, x: Tensor) -> Tensor:
    axis = call.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    rows = 1
    for size in x.shape[:axis]:
        rows *= size
    return x.reshape(rows, -1) if x.numel() else x.reshape(rows, x.shape[axis:].numel())


@operator("Transpose")
def transpose(call: Call, x: Tensor) -> Tensor:
    return x.permute(call.get("perm") or list(range(x.ndim))[::-1])


@operator("Squeeze")
def squeeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = list_of(call, "axes", axes)
    return x.squeeze() if chosen is None else x.squeeze(dim=tuple(chosen))


@operator("Unsqueeze")
def unsqueeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = list_of(call, "axes", axes) or []
    for axis in sorted(axis % (x.ndim + len(chosen)) for axis in chosen):
        x = x.unsqueeze(axis)
    return x


@operator("Concat")
def concat(call: Call, *tensors: Tensor) -> Tensor:
    return torch.cat(together(*tensors), dim=call.get("axis", 1))


@operator("Split")
def split(call: Call, x: Tensor, sizes: Tensor | None = None) -> list[Tensor]:
    axis, given = call.get("axis", 0), list_of(call, "split", sizes)
    if given is None:
        # All equal, but the last one may be smaller.
        parts = call.get("num_outputs", call.outputs)
        each = -(-x.shape[axis] // parts)
        given = [max(0, min(each, x.shape[axis] - each * part)) for part in range(parts)]
    return list(x.split(given, dim=axis))


@operator("Expand")
def expand(call: Call, x: Tensor, wanted: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(integers(wanted))))


@operator("Tile")
def tile(call: Call, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(integers(repeats)) if x.ndim else x


@operator("Constant")
def constant(call: Call) -> Tensor:
    for name, dtype in (("value_float", torch.float32), ("value_floats", torch.float32)):
        if name in call.attributes:
            return torch.tensor(call.get(name), dtype=dtype)
    for name in ("value_int", "value_ints"):
        if name in call.attributes:
            return torch.tensor(call.get(name), dtype=torch.int64)
    value = call.get("value")
    if not isinstance(value, Tensor):
        raise unsupported("a constant of texts or sparse values")
    return computed(value)


@operator("ConstantOfShape")
def constant_of_shape(call: Call, wanted: Tensor) -> Tensor:
    value = call.get("value")
    filling = torch.zeros(1) if value is None else computed(value)
    return filling.reshape(()).expand(integers(wanted)).clone()


@operator("EyeLike")
def eye_like(call: Call, x: Tensor) -> Tensor:
    dtype = dtype_of(call.get("dtype")) if "dtype" in call.attributes else x.dtype
    rows, columns = x.shape
    offset = call.get("k", 0)
    difference = torch.arange(columns, device=x.device) - torch.arange(rows, device=x.device)[:, None]
    return torch.eq(difference, offset).to(dtype)


@operator("Range")
def range_(call: Call, start: Tensor, limit: Tensor, step: Tensor) -> Tensor:
    first, last, by = (tensor.item() for tensor in (start, limit, step))
    return torch.arange(first, last, by, dtype=start.dtype)


@operator("Trilu")
def trilu(call: Call, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    at = 0 if diagonal is None else int(diagonal)
    return torch.triu(x, at) if call.get("upper", 1) else torch.tril(x, at)


@operator("DepthToSpace")
def depth_to_space(call: Call, x: Tensor) -> Tensor:
    block = call.get("blocksize")
    count, channels, height, width = x.shape
    inner = channels // block**2
    if call.get("mode", "DCR") == "DCR":
        moved = x.reshape(count, block, block, inner, height, width).permute(0, 3, 4, 1, 5, 2)
    else:
        moved = x.reshape(count, inner, block, block, height, width).permute(0, 1, 4, 2, 5, 3)
    return moved.reshape(count, inner, height * block, width * block)


@operator("SpaceToDepth")
def space_to_depth(call: Call, x: Tensor) -> Tensor:
    block = call.get("blocksize")
    count, channels, height, width = x.shape
    parts = x.reshape(count, channels, height // block, block, width // block, block)
    moved = parts.permute(*((0, 3, 5, 1, 2, 4) if call.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)))
    return moved.reshape(count, channels * block**2, height // block, width // block)


@operator("Pad")
def pad(
    call: Call, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    given = list_of(call, "pads", pads) or []
    chosen = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in integers(axes)]
    amounts = [(0, 0)] * x.ndim
    for place, axis in enumerate(chosen):
        amounts[axis] = (given[place], given[place + len(chosen)])
    mode = call.get("mode", "constant")
    if mode == "constant":
        filling = call.get("value", 0.0) if value is None else value.item()
        flat = [amount for pair in reversed(amounts) for amount in pair]
        if x.dtype == torch.bool:
            return F.pad(x.to(torch.uint8), flat, value=float(filling)).bool()
        return F.pad(x, flat, value=filling)
    for axis, (before, after) in enumerate(amounts):
        if before or after:
            x = x.index_select(axis, _outside(x.shape[axis], before, after, mode).to(x.device))
    return x


def _outside(size: int, before: int, after: int, mode: str) -> Tensor:
    """Return the positions along an axis whose values a padded axis has."""
    positions = torch.arange(-before, size + after)
    if mode == "edge":
        return positions.clamp(0, size - 1)
    if mode == "wrap":
        return positions % size
    if mode == "reflect":
        period = max(1, 2 * (size - 1))
        folded = positions % period
        return torch.minimum(folded, period - folded)
    raise unsupported(f"padding of the kind {mode!r}")


@operator("Col2Im")
def col2im(call: Call, x: Tensor, image: Tensor, block: Tensor) -> Tensor:
    sizes = integers(image)
    pads = call.get("pads") or [0] * (2 * len(sizes))
    if len(sizes) != 2:
        raise unsupported(f"Col2Im of {len(sizes)} axes")
    # torch pads equally on both sides.
    top, left, bottom, right = pads
    full = (sizes[0] + top + bottom, sizes[1] + left + right)
    dilations, strides = (tuple(call.get(name) or (1, 1)) for name in ("dilations", "strides"))
    summed = F.fold(x, full, tuple(integers(block)), dilation=dilations, stride=strides)
    return summed[..., top : top + sizes[0], left : left + sizes[1]]


@operator("CenterCropPad")
def center_crop_pad(call: Call, x: Tensor, wanted: Tensor) -> Tensor:
    for axis, size in zip(call.get("axes") or range(x.ndim), integers(wanted), strict=True):
        length = x.shape[axis]
        if size < length:
            x = x.narrow(axis, (length - size) // 2, size)
        else:
            before = (size - length) // 2
            pads = [0, 0] * (x.ndim - 1 - axis % x.ndim) + [before, size - length - before]
            x = F.pad(x, pads)
    return x
