"""Attention, and the rotation of its queries and keys by their positions."""

import math

import torch
from torch import Tensor

from nern_core.networks.onnx_graph.operators.call import Call, operator, together, unsupported


@operator("Attention")
def attention(
    call: Call,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_k: Tensor | None = None,
    past_v: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor | None, ...]:
    is_flat = q.ndim == 3
    q, k, v = together(q, k, v)
    q, k, v = (
        x.unflatten(-1, (heads, -1)).transpose(1, 2) if is_flat else x
        for x, heads in (
            (q, call.get("q_num_heads", 1)),
            (k, call.get("kv_num_heads", 1)),
            (v, call.get("kv_num_heads", 1)),
        )
    )
    if past_k is not None and past_v is not None:
        k, v = torch.cat([past_k.to(k.device), k], dim=2), torch.cat([past_v.to(v.device), v], dim=2)
    earlier = 0 if past_k is None else past_k.shape[2]
    groups = q.shape[1] // k.shape[1]
    scale = math.sqrt(call.get("scale") or q.shape[-1] ** -0.5)
    products = (q * scale) @ (k.repeat_interleave(groups, dim=1) * scale).transpose(-1, -2)
    added = _bias(call, products, mask, earlier, lengths)
    limit = call.get("softcap", 0.0)
    capped = limit * torch.tanh(products / limit) if limit else products
    scores = capped + added
    weights = scores.softmax(dim=-1)
    # Queries that may attend to nothing give zeros.
    weights = torch.where(scores.isneginf().all(dim=-1, keepdim=True), torch.zeros_like(weights), weights)
    found: Tensor = weights @ v.repeat_interleave(groups, dim=1)
    shown = (products, capped, scores, weights)[call.get("qk_matmul_output_mode", 0)]
    return found.transpose(1, 2).flatten(2) if is_flat else found, k, v, shown


def _bias(call: Call, products: Tensor, mask: Tensor | None, earlier: int, lengths: Tensor | None) -> Tensor:
    """Return what is added to the products of queries and keys, which forbids some with minus infinity."""
    queries, keys = products.shape[-2:]
    added = torch.zeros(queries, keys, dtype=products.dtype, device=products.device)
    if mask is not None:
        given = mask.to(products.device)
        if given.shape[-1] < keys:
            filling = False if given.dtype == torch.bool else -torch.inf
            given = torch.nn.functional.pad(given, (0, keys - given.shape[-1]), value=filling)
        added = torch.where(given, 0.0, -torch.inf) if given.dtype == torch.bool else given
    places = torch.arange(keys, device=products.device)
    if lengths is not None:
        is_inside = places < lengths.to(products.device)[:, None, None, None]
        added = torch.where(is_inside, added, -torch.inf)
    # The place of each query among the keys.
    at = torch.arange(queries, device=products.device)[:, None] + earlier
    if lengths is not None:
        at = at + (lengths.to(products.device) - queries)[:, None, None, None]
    if call.get("is_causal", 0):
        added = torch.where(places <= at, added, -torch.inf)
    left, right = call.get("left_window_size", -1), call.get("right_window_size", -1)
    if left >= 0:
        added = torch.where(places >= at - left, added, -torch.inf)
    if right >= 0:
        added = torch.where(places <= at + right, added, -torch.inf)
    return added


@operator("RotaryEmbedding")
def rotary_embedding(call: Call, x: Tensor, cosines: Tensor, sines: Tensor, positions: Tensor | None = None) -> Tensor:
    heads, is_flat = call.get("num_heads", 0), x.ndim == 3
    if is_flat:
        x = x.unflatten(-1, (heads, -1)).transpose(1, 2)
    x, cosines, sines = together(x, cosines, sines)
    if positions is not None:
        at = positions.to(x.device).long()
        cosines, sines = cosines[at], sines[at]
    if cosines.ndim != 3:
        raise unsupported("a rotation without one row for each position")
    rotated = call.get("rotary_embedding_dim", 0) or x.shape[-1]
    moved, rest = x[..., :rotated], x[..., rotated:]
    cosines, sines = cosines[:, None, :, : rotated // 2], sines[:, None, :, : rotated // 2]
    is_interleaved = bool(call.get("interleaved", 0))
    first, second = (moved[..., 0::2], moved[..., 1::2]) if is_interleaved else moved.chunk(2, dim=-1)
    real, imaginary = first * cosines - second * sines, first * sines + second * cosines
    turned = torch.stack([real, imaginary], dim=-1).flatten(-2) if is_interleaved else torch.cat([real, imaginary], -1)
    found = torch.cat([turned, rest], dim=-1)
    return found.transpose(1, 2).flatten(2) if is_flat else found
