"""Resizing along axes, one axis after another: nearest, linear and cubic."""

import math
from typing import Final

import torch
from torch import Tensor

from nern_core.networks.onnx_graph.operators.call import Call, integers, operator, unsupported

_TAPS_OF: Final = {"linear": 2, "cubic": 4}


@operator("Upsample")
def upsample(call: Call, x: Tensor, scales: Tensor | None = None) -> Tensor:
    factors = call.get("scales") if scales is None else scales.flatten().tolist()
    older = Call({**call.attributes, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 1, 10)
    return _resized(older, x, dict(enumerate(factors)), {})


@operator("Resize")
def resize(call: Call, x: Tensor, *rest: Tensor | None) -> Tensor:
    if call.opset < 11:
        (scales,) = rest
        assert scales is not None
        older = Call(
            {**call.attributes, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 1, 10
        )
        return _resized(older, x, dict(enumerate(scales.flatten().tolist())), {})
    _, scales, sizes = (*rest, None, None, None)[:3]
    if call.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise unsupported("Resize with a region of interest")
    axes = [axis % x.ndim for axis in call.get("axes") or range(x.ndim)]
    factors = [] if scales is None else scales.flatten().tolist()
    if factors:
        return _resized(call, x, dict(zip(axes, factors, strict=True)), {})
    assert sizes is not None
    wanted = dict(zip(axes, integers(sizes), strict=True))
    policy = call.get("keep_aspect_ratio_policy", "stretch")
    scale_of = {axis: size / x.shape[axis] for axis, size in wanted.items()}
    if policy != "stretch":
        scale = (min if policy == "not_larger" else max)(scale_of.values())
        wanted = {axis: math.floor(scale * x.shape[axis] + 0.5) for axis in wanted}
        scale_of = dict.fromkeys(wanted, scale)
    return _resized(call, x, scale_of, wanted)


def _resized(call: Call, x: Tensor, scales: dict[int, float], sizes: dict[int, int]) -> Tensor:
    mode = call.get("mode", "nearest")
    for axis, scale in scales.items():
        length = x.shape[axis]
        size = sizes.get(axis, math.floor(length * scale))
        if size == length and scale == 1.0:
            continue
        positions = _positions(call, length, size, scale)
        if mode == "nearest":
            x = x.index_select(axis, _nearest(call, positions).clamp(0, length - 1).to(x.device))
        else:
            x = _interpolated(call, x, axis, positions)
    return x


def _positions(call: Call, length: int, size: int, scale: float) -> Tensor:
    """Return the positions in the input of all places of the output, float32 (size,), rounded as by onnxruntime."""
    places = torch.arange(size, dtype=torch.float32)
    kind = call.get("coordinate_transformation_mode", "half_pixel")
    if kind == "asymmetric":
        return places / scale
    if kind == "align_corners":
        return places * ((length - 1) / (size - 1) if size > 1 else 0.0)
    if kind == "pytorch_half_pixel" and size == 1:
        return torch.zeros(1)
    if kind == "half_pixel_symmetric":
        adjustment = size / (scale * length)
        return length / 2 * (1 - adjustment) + (places + 0.5) / scale - 0.5
    if kind in {"half_pixel", "pytorch_half_pixel"}:
        return (places + 0.5) / scale - 0.5
    raise unsupported(f"Resize with coordinates of the kind {kind!r}")


def _nearest(call: Call, positions: Tensor) -> Tensor:
    kind = call.get("nearest_mode", "round_prefer_floor")
    if kind == "floor":
        return positions.floor().long()
    if kind == "ceil":
        return positions.ceil().long()
    down = (positions - 0.5).ceil() if kind == "round_prefer_floor" else (positions + 0.5).floor()
    return down.long()


def _interpolated(call: Call, x: Tensor, axis: int, positions: Tensor) -> Tensor:
    """Return the sum of neighbours, each times its weight."""
    mode, length = call.get("mode"), x.shape[axis]
    if mode not in _TAPS_OF:
        raise unsupported(f"Resize of the kind {mode!r}")
    if call.get("antialias", 0):
        # onnxruntime and torch treat the edges differently.
        raise unsupported("Resize with antialiasing")
    reach = _TAPS_OF[mode] // 2
    first = positions.floor().long() - reach + 1
    taps = torch.arange(2 * reach)
    at = first[:, None] + taps
    distances = positions[:, None] - at
    weights = _linear(distances) if mode == "linear" else _cubic(distances, call.get("cubic_coeff_a", -0.75))
    if call.get("exclude_outside", 0):
        weights = torch.where((at >= 0) & (at < length), weights, torch.zeros_like(weights))
    weights = weights / weights.sum(dim=1, keepdim=True)
    shape = [-1 if other == axis else 1 for other in range(x.ndim)]
    total: Tensor | None = None
    for tap in range(2 * reach):
        values = x.index_select(axis, at[:, tap].clamp(0, length - 1).to(x.device))
        part = values * weights[:, tap].to(device=x.device, dtype=x.dtype).view(shape)
        total = part if total is None else total + part
    assert total is not None
    return total


def _linear(distances: Tensor) -> Tensor:
    return (1 - distances.abs()).clamp(min=0)


def _cubic(distances: Tensor, a: float) -> Tensor:
    d = distances.abs()
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
