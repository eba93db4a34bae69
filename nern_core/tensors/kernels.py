"""Represented tensors: cut them into kernels with coordinates, and assemble kernels into tensors.

A convolution weight of shape F x C x H x W is F*C kernels of H*W values; kernel (f, c) of the l-th represented layer
has the coordinate (l, f, c), in raster order with c fastest (paper, section 3.1). Convolutions of one and three
dimensions are the same with other kernel axes. Depthwise ones have C = 1, grouped ones C = inputs / groups. torch
stores a transposed convolution with its inputs on axis 0: there f counts inputs and c outputs.

A matrix F x N is F * ceil(N / tile) kernels of `tile` values each; c counts tiles along the input axis. All other
tensors are kept unchanged.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from nern_core.contract.kernel_policy import SPATIAL, choose_tensors
from nern_core.formats.kernel_layer import KernelLayer, WeightDtype


def select_layers(
    tensors: Mapping[str, Tensor],
    kernels: Sequence[str] = (SPATIAL,),
    hidden_size: int | None = None,
    *,
    kernels_per_coordinate: int = 1,
    order: Iterable[str] | None = None,
    tied: Mapping[str, str] | None = None,
) -> tuple[KernelLayer, ...]:
    """Choose the tensors to represent by the policy `kernels`, for a predictor of this hidden size (None: default).

    `order` gives the names in network order if the architecture is known; the default is the order of `tensors`. Of
    `tied` tensors (repeated by repeating, see `checkpoint.find_tied`) only the repeated one is listed. Raises
    `NernError` (`no_kernels`, `unmatched_pattern`).
    """
    shapes = {
        name: tuple(tensors[name].shape)
        for name in (tensors if order is None else order)
        if _dtype_name(tensors[name]) in get_args(WeightDtype)
    }
    others: Counter[str] = Counter()
    for name, tensor in tensors.items():
        if name not in shapes and tensor.ndim > 1:
            others[_dtype_name(tensor)] += tensor.numel()
    chosen = choose_tensors(shapes, kernels, hidden_size, kernels_per_coordinate, dict(others.most_common(1)))
    tiles = {(tied or {}).get(name, name): tile for name, tile in chosen.items()}
    return tuple(
        KernelLayer(name=name, shape=shapes[name], tile=tile, dtype=_dtype_name(tensors[name]))
        for name, tile in tiles.items()
    )


def cut(tensor: Tensor, layer: KernelLayer, dtype: torch.dtype = torch.float32) -> Tensor:
    """Cut a tensor into its kernels, (kernels, kernel values) of this dtype, in raster order.

    The last tile of each row is padded with zeros.
    """
    rows = tensor.detach().to(dtype).reshape(layer.filters, layer.inputs)
    padding = layer.channels * layer.kernel_values - layer.inputs
    return F.pad(rows, (0, padding)).reshape(layer.kernels, layer.kernel_values)


def assemble(kernels: Tensor, layer: KernelLayer) -> Tensor:
    """Assemble kernels (kernels, kernel values) in raster order into a tensor of the layer's shape. Differentiable."""
    return kernels.reshape(layer.filters, -1)[:, : layer.inputs].reshape(layer.shape)


def by_head(layers: Iterable[KernelLayer]) -> dict[str, tuple[int, ...]]:
    """Group layer indices by output head, sorted by its name."""
    indices: dict[str, list[int]] = {}
    for index, layer in enumerate(layers):
        indices.setdefault(layer.head, []).append(index)
    return {head: tuple(found) for head, found in sorted(indices.items())}


def _dtype_name(tensor: Tensor) -> WeightDtype:
    return str(tensor.dtype).removeprefix("torch.")  # type: ignore[return-value] # checked by the caller
