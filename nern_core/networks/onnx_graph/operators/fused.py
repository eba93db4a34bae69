"""Operators of the domain `com.microsoft`, which onnxruntime's optimizer puts in place of several others."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from nern_core.networks.onnx_graph.operators.arithmetic import gemm
from nern_core.networks.onnx_graph.operators.call import Call, operator, together, unsupported
from nern_core.networks.onnx_graph.operators.convolutions import conv

_EPSILON: Final = 1e-12
_FILTERED: Final = -10_000.0
_ACTIVATIONS: Final[dict[str, Callable[[Tensor, list[float]], Tensor]]] = {
    "Clip": lambda x, of: x.clamp(of[0], of[1]),
    "HardSigmoid": lambda x, of: (of[0] * x + of[1]).clamp(0, 1),
    "LeakyRelu": lambda x, of: F.leaky_relu(x, of[0]),
    "Relu": lambda x, of: torch.relu(x),
    "Sigmoid": lambda x, of: torch.sigmoid(x),
    "Tanh": lambda x, of: torch.tanh(x),
}


def _activated(call: Call, x: Tensor, parameters: list[float]) -> Tensor:
    name = call.get("activation", "")
    if not name:
        return x
    if name not in _ACTIVATIONS:
        raise unsupported(f"the activation {name!r}")
    return _ACTIVATIONS[name](x, parameters)


@operator("com.microsoft.FusedConv")
def fused_conv(
    call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None
) -> Tensor:
    found = conv(call, x, weight, bias)
    return _activated(call, found if added is None else found + added, call.get("activation_params") or [])


@operator("com.microsoft.FusedGemm")
def fused_gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    given = [call.get(f"activation_{name}") for name in ("alpha", "beta", "gamma")]
    return _activated(call, gemm(call, a, b, c), [value for value in given if value is not None])


@operator("com.microsoft.FusedMatMul", "com.microsoft.TransposeMatMul")
def fused_matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    a, b = together(a, b)
    sides = []
    for x, side in ((a, "A"), (b, "B")):
        moved = x
        if call.get(f"transBatch{side}", 0):
            # The first axis goes before the last one.
            moved = moved.movedim(0, -2)
        if call.get(f"trans{side}", 0) and moved.ndim > 1:
            moved = moved.transpose(-1, -2)
        sides.append(moved)
    return torch.matmul(*sides) * float(call.get("alpha", 1.0))


@operator("com.microsoft.Gelu")
def gelu(call: Call, x: Tensor) -> Tensor:
    return F.gelu(x)


@operator("com.microsoft.BiasGelu")
def bias_gelu(call: Call, x: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(x + bias)


@operator("com.microsoft.FastGelu")
def fast_gelu(call: Call, x: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@operator("com.microsoft.QuickGelu")
def quick_gelu(call: Call, x: Tensor) -> Tensor:
    return x * torch.sigmoid(call.get("alpha", 1.702) * x)


@operator("com.microsoft.SkipLayerNormalization")
def skip_layer_normalization(
    call: Call, x: Tensor, skip: Tensor, scale: Tensor, shift: Tensor | None = None, bias: Tensor | None = None
) -> tuple[Tensor | None, ...]:
    summed = x + skip if bias is None else x + skip + bias
    normalized = F.layer_norm(summed, scale.shape, scale, shift, call.get("epsilon", _EPSILON))
    return normalized, None, None, summed


@operator("com.microsoft.SkipSimplifiedLayerNormalization")
def skip_rms_normalization(
    call: Call, x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor | None = None
) -> tuple[Tensor | None, ...]:
    summed = x + skip if bias is None else x + skip + bias
    return F.rms_norm(summed, scale.shape, scale, call.get("epsilon", _EPSILON)), None, None, summed


@operator("com.microsoft.EmbedLayerNormalization")
def embed_layer_normalization(
    call: Call,
    ids: Tensor,
    segments: Tensor | None,
    words: Tensor,
    positions: Tensor,
    segment_table: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    mask: Tensor | None = None,
    places: Tensor | None = None,
) -> tuple[Tensor | None, ...]:
    ids, words = together(ids, words)
    at = torch.arange(ids.shape[1], device=words.device) if places is None else places.to(words.device).long()
    summed = words[ids.long()] + positions[at]
    if segments is not None and segment_table is not None:
        summed = summed + segment_table[segments.to(words.device).long()]
    lengths = torch.zeros(len(ids), dtype=torch.int32) if mask is None else mask.sum(dim=1, dtype=torch.int32)
    return F.layer_norm(summed, scale.shape, scale, shift, call.get("epsilon", _EPSILON)), lengths, summed


@operator("com.microsoft.Attention")
def attention(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    past: Tensor | None = None,
    added: Tensor | None = None,
) -> Tensor:
    if past is not None or call.outputs > 1:
        raise unsupported("attention with a cache")
    mixed = x @ weight if bias is None else x @ weight + bias
    sizes = call.get("qkv_hidden_sizes") or [mixed.shape[-1] // 3] * 3
    q, k, v = mixed.split(sizes, dim=-1)
    return _attended(call, q, k, v, mask, added, is_causal=bool(call.get("unidirectional", 0)))


@operator("com.microsoft.MultiHeadAttention")
def multi_head_attention(
    call: Call,
    q: Tensor,
    k: Tensor | None = None,
    v: Tensor | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    added: Tensor | None = None,
    *past: Tensor | None,
) -> Tensor:
    if k is None or v is None or k.ndim != 3 or call.outputs > 1 or any(part is not None for part in past):
        raise unsupported("attention with packed inputs or a cache")
    if bias is not None:
        parts = bias.split([q.shape[-1], k.shape[-1], v.shape[-1]])
        q, k, v = (x + part for x, part in zip((q, k, v), parts, strict=True))
    return _attended(call, q, k, v, mask, added, is_causal=bool(call.get("unidirectional", 0)))


def _attended(
    call: Call, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, added: Tensor | None, *, is_causal: bool
) -> Tensor:
    """Attend with inputs (batch, length, features) of all heads; `added` is added to the scores."""
    heads = call.get("num_heads")
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) * (call.get("scale") or q.shape[-1] ** -0.5)
    filtered = call.get("mask_filter_value", _FILTERED)
    if added is not None:
        scores = scores + added
    if mask is not None:
        scores = scores + torch.where(_allowed(mask.to(scores.device), k.shape[-2]), 0.0, filtered)
    if is_causal:
        is_later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(is_later, filtered if mask is not None else -torch.inf)
    attended: Tensor = scores.softmax(dim=-1) @ v
    return attended.transpose(1, 2).flatten(2)


def _allowed(mask: Tensor, length: int) -> Tensor:
    """Return which keys count, (batch, 1, 1 or queries, keys), from lengths (batch,) or a mask of two or three axes."""
    if mask.ndim == 1:
        return (torch.arange(length, device=mask.device) < mask[:, None])[:, None, None]
    if mask.ndim == 2:
        return (mask > 0)[:, None, None]
    if mask.ndim == 3:
        return (mask > 0)[:, None]
    raise unsupported(f"attention with a mask of {mask.ndim} axes")
