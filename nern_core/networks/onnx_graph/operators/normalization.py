"""Normalizations: of batches, of channels, of the last axes."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from nern_core.networks.onnx_graph.operators.call import Call, operator, unsupported

EPSILON: Final = 1e-5


@operator("BatchNormalization")
def batch_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    if call.get("training_mode", 0) or call.outputs > 1:
        raise unsupported("BatchNormalization in training mode")
    return F.batch_norm(x, mean, variance, scale, bias, training=False, eps=call.get("epsilon", EPSILON))


@operator("InstanceNormalization")
def instance_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=call.get("epsilon", EPSILON))


@operator("GroupNormalization")
def group_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups, channels = call.get("num_groups"), x.shape[1]
    if len(scale) != channels:
        # Before version 21, one number for each group.
        scale, bias = (tensor.repeat_interleave(channels // groups) for tensor in (scale, bias))
    return F.group_norm(x, groups, scale, bias, eps=call.get("epsilon", EPSILON))


@operator("LayerNormalization")
def layer_normalization(
    call: Call, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor | tuple[Tensor, ...]:
    axis = call.get("axis", -1) % x.ndim
    epsilon, shape = call.get("epsilon", EPSILON), list(x.shape[axis:])
    if call.outputs == 1 and list(scale.shape) == shape and (bias is None or list(bias.shape) == shape):
        return F.layer_norm(x, shape, scale, bias, epsilon)
    axes = tuple(range(axis, x.ndim))
    mean = x.mean(dim=axes, keepdim=True)
    factor = torch.rsqrt((x - mean).square().mean(dim=axes, keepdim=True) + epsilon)
    normalized = (x - mean) * factor * scale
    return (normalized if bias is None else normalized + bias), mean, factor


@operator("RMSNormalization", "SimplifiedLayerNormalization")
def rms_normalization(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    axes = tuple(range(call.get("axis", -1) % x.ndim, x.ndim))
    return x * torch.rsqrt(x.square().mean(dim=axes, keepdim=True) + call.get("epsilon", EPSILON)) * scale


@operator("MeanVarianceNormalization")
def mean_variance_normalization(call: Call, x: Tensor) -> Tensor:
    axes = call.get("axes") or [0, 2, 3]
    mean = x.mean(dim=axes, keepdim=True)
    deviation = (x.square().mean(dim=axes, keepdim=True) - mean.square()).sqrt()
    return (x - mean) / (deviation + 1e-9)


@operator("LpNormalization")
def lp_normalization(call: Call, x: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(x, call.get("p", 2), dim=call.get("axis", -1), keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / torch.where(norm == 0, torch.ones_like(norm), norm))


@operator("LRN")
def local_response_normalization(call: Call, x: Tensor) -> Tensor:
    size = call.get("size")
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = F.pad(x.square().movedim(1, -1), (before, after)).unfold(-1, size, 1).sum(dim=-1).movedim(-1, 1)
    base = call.get("bias", 1.0) + call.get("alpha", 1e-4) / size * squares
    return x / torch.pow(base, call.get("beta", 0.75))
