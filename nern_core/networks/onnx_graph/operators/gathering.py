"""Parts of tensors: slices, values at indices, and values put at indices."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from nern_core.networks.onnx_graph.operators.call import Call, integers, operator, together, unsupported

_REDUCTIONS: Final = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@operator("Slice")
def slice_(
    call: Call,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first = call.get("starts") if starts is None else integers(starts)
    last = call.get("ends") if ends is None else integers(ends)
    along = call.get("axes") if axes is None else integers(axes)
    by = [1] * len(first) if steps is None else integers(steps)
    for start, end, axis, given in zip(first, last, along or range(len(first)), by, strict=True):
        begin, stop, step = slice(start, end, given).indices(x.shape[axis])
        if step > 0:
            x = x.narrow(axis, begin, max(0, stop - begin))
            if step > 1:
                x = x.index_select(axis, torch.arange(0, x.shape[axis], step, device=x.device))
        else:
            x = x.index_select(axis, torch.arange(begin, stop, step, device=x.device))
    return x


def _wrapped(indices: Tensor, size: int) -> Tensor:
    """Count negative indices from the end."""
    return torch.where(indices < 0, indices + size, indices).long()


@operator("Gather")
def gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    x, indices = together(x, indices)
    axis = call.get("axis", 0) % max(x.ndim, 1)
    found = x.index_select(axis, _wrapped(indices.flatten(), x.shape[axis]))
    return found.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


@operator("GatherElements")
def gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    x, indices = together(x, indices)
    axis = call.get("axis", 0)
    return torch.gather(x, axis, _wrapped(indices, x.shape[axis]))


def _places(indices: Tensor, sizes: torch.Size) -> tuple[Tensor, ...]:
    return tuple(_wrapped(part, size) for part, size in zip(indices.unbind(-1), sizes, strict=False))


@operator("GatherND")
def gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    x, indices = together(x, indices)
    batch = call.get("batch_dims", 0)
    if not batch:
        return x[_places(indices, x.shape)]
    rows, shape = x.flatten(0, batch - 1), indices.shape[:batch]
    at = indices.reshape(-1, *indices.shape[batch:])
    found = torch.stack([row[_places(part, row.shape)] for row, part in zip(rows, at, strict=True)])
    return found.reshape(*shape, *found.shape[1:])


@operator("ScatterND")
def scatter_nd(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    x, indices, updates = together(x, indices, updates)
    reduction, places = call.get("reduction", "none"), _places(indices, x.shape)
    if reduction in {"none", "add"}:
        return x.index_put(places, updates, accumulate=reduction == "add")
    # Values of several axes as one: the index of each value in the flat tensor.
    flat = torch.arange(x.numel(), device=x.device).reshape(x.shape)[places]
    return x.flatten().scatter_reduce(0, flat.flatten(), updates.flatten(), _REDUCTIONS[reduction]).reshape(x.shape)


@operator("ScatterElements", "Scatter")
def scatter_elements(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    x, indices, updates = together(x, indices, updates)
    axis, reduction = call.get("axis", 0), call.get("reduction", "none")
    places = _wrapped(indices, x.shape[axis])
    if reduction == "none":
        return x.scatter(axis, places, updates)
    return x.scatter_reduce(axis, places, updates, _REDUCTIONS[reduction])


@operator("NonZero")
def non_zero(call: Call, x: Tensor) -> Tensor:
    return torch.nonzero(x).t()


@operator("Compress")
def compress(call: Call, x: Tensor, condition: Tensor) -> Tensor:
    x, condition = together(x, condition)
    axis = call.get("axis")
    if axis is None:
        x, axis = x.flatten(), 0
    return x.index_select(axis, torch.nonzero(condition[: x.shape[axis]])[:, 0])


@operator("OneHot")
def one_hot(call: Call, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    indices, values = together(indices, values)
    count, axis = int(depth), call.get("axis", -1)
    places = _wrapped(indices, count)
    inside = ((places >= 0) & (places < count))[..., None]
    chosen = (F.one_hot(places.clamp(0, count - 1), count).bool() & inside).movedim(-1, axis)
    off, on = values
    return torch.where(chosen, on, off)


@operator("GridSample")
def grid_sample(call: Call, x: Tensor, grid: Tensor) -> Tensor:
    x, grid = together(x, grid)
    modes = {"linear": "bilinear", "cubic": "bicubic"}
    mode = call.get("mode", "linear")
    if x.ndim != 4 and mode == "cubic":
        raise unsupported("GridSample of volumes with cubic interpolation")
    return F.grid_sample(
        x,
        grid,
        mode=modes.get(mode, mode),
        padding_mode=call.get("padding_mode", "zeros"),
        align_corners=bool(call.get("align_corners", 0)),
    )


@operator("AffineGrid")
def affine_grid(call: Call, theta: Tensor, size: Tensor) -> Tensor:
    return F.affine_grid(theta, integers(size), align_corners=bool(call.get("align_corners", 0)))


@operator("Unique")
def unique(call: Call, x: Tensor) -> list[Tensor]:
    axis, is_sorted = call.get("axis"), bool(call.get("sorted", 1))
    values, inverse, counts = torch.unique(x, sorted=True, return_inverse=True, return_counts=True, dim=axis)
    places = torch.arange(len(inverse.flatten()), device=x.device)
    first = torch.full_like(counts, len(places)).scatter_reduce(0, inverse.flatten(), places, "amin")
    if is_sorted:
        return [values, first, inverse.flatten(), counts]
    order = first.argsort()
    rank = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=x.device))
    return [values.index_select(axis or 0, order), first[order], rank[inverse.flatten()], counts[order]]


@operator("ReverseSequence")
def reverse_sequence(call: Call, x: Tensor, lengths: Tensor) -> Tensor:
    time, batch = call.get("time_axis", 0), call.get("batch_axis", 1)
    rows = x.movedim((batch, time), (0, 1))
    places = torch.arange(rows.shape[1], device=x.device)
    ends = lengths.to(x.device)[:, None]
    at = torch.where(places < ends, ends - 1 - places, places)
    found = rows[torch.arange(len(rows), device=x.device)[:, None], at]
    return found.movedim((0, 1), (batch, time))
