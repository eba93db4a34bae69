"""What the predictor is fitted to: the kernels of each layer, scaled, in the order of their coordinates."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nern_core.kernels import KernelLayer, assemble, by_head, cut
from nern_core.options import Permutation
from nern_core.permutation import inverse, order_kernels


@dataclass(frozen=True, slots=True)
class HeadTargets:
    """The kernels of one shape, n of them, layer after layer.

    `coordinates` int32 (n, 3) are (layer, filter, channel); `kernels` float32 (n, kernel values) are divided
    by the scale; `layers` are the indices of the layers that they come from.
    """

    layers: tuple[int, ...]
    coordinates: Tensor
    kernels: Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of every head, and what leads back from predictions to weights.

    `orders[l][p]` is the raster index of the kernel at the p-th coordinate of layer l (None: raster
    order), `positions` are the inverses. Predictions times `scale` are weights: one scale for all layers,
    since scaling each on its own gives small weights that matter little as much of the fit as large ones.
    `tied` names the tensors that repeat one of the layers.
    """

    layers: tuple[KernelLayer, ...]
    orders: tuple[Tensor | None, ...]
    positions: tuple[Tensor | None, ...]
    scale: float
    heads: dict[str, HeadTargets]
    tied: Mapping[str, str]

    @property
    def kernels(self) -> int:
        """Number of kernels of all layers."""
        return sum(layer.kernels for layer in self.layers)

    def to(self, device: torch.device) -> "Targets":
        """The same targets with their tensors on another device; the orders stay on the CPU."""
        return replace(
            self,
            positions=tuple(None if p is None else p.to(device) for p in self.positions),
            heads={
                head: HeadTargets(target.layers, target.coordinates.to(device), target.kernels.to(device))
                for head, target in self.heads.items()
            },
        )


def make_targets(
    tensors: Mapping[str, Tensor],
    layers: Sequence[KernelLayer],
    permutation: Permutation,
    *,
    scaled: bool,
    tied: Mapping[str, str] | None = None,
) -> Targets:
    """Cut, order and scale the represented tensors. `scaled` divides by the standard deviation of all weights.

    `tied` are names that repeat another one's tensor, repeated by repeating.
    """
    kernels = [cut(tensors[layer.name], layer) for layer in layers]
    orders = tuple(
        order_kernels(values, layer.filters, permutation) for values, layer in zip(kernels, layers, strict=True)
    )
    deviation = _standard_deviation([tensors[layer.name] for layer in layers]) if scaled else 0.0
    scale = deviation if deviation > 0 else 1.0
    heads = {
        head: HeadTargets(
            layers=indices,
            coordinates=torch.cat([_raster_coordinates(i, layers[i]) for i in indices]),
            kernels=torch.cat([rearrange(kernels[i], orders[i]) for i in indices]).div_(scale),
        )
        for head, indices in by_head(layers).items()
    }
    positions = tuple(None if order is None else inverse(order) for order in orders)
    represented = {layer.name for layer in layers}
    repeating = {alias: name for alias, name in (tied or {}).items() if name in represented}
    return Targets(tuple(layers), orders, positions, scale, heads, repeating)


def to_weights(kernels: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
    """Turn the kernels of every head, (n, kernel values) in coordinate order, into weights by name.

    Tied names share one tensor. Differentiable.
    """
    weights = {}
    for head, values in kernels.items():
        indices = targets.heads[head].layers
        for index, rows in zip(indices, values.split([targets.layers[i].kernels for i in indices]), strict=True):
            raster = rearrange(rows, targets.positions[index])
            weights[targets.layers[index].name] = assemble(raster * targets.scale, targets.layers[index])
    return weights | {alias: weights[name] for alias, name in targets.tied.items() if name in weights}


def rearrange(rows: Tensor, order: Tensor | None) -> Tensor:
    """Bring one row per kernel from raster order into coordinate order or, given the inverse order, back."""
    return rows if order is None else rows[order]


def _standard_deviation(tensors: Iterable[Tensor]) -> float:
    """Of all values together, from the mean and variance of each tensor, without putting them side by side."""
    moments = []
    for tensor in tensors:
        variance, mean = torch.var_mean(tensor.detach().float(), correction=0)
        moments.append((tensor.numel(), float(mean), float(variance)))
    total = sum(count for count, _, _ in moments)
    overall = sum(count * mean for count, mean, _ in moments) / total
    return math.sqrt(sum(count * (variance + (mean - overall) ** 2) for count, mean, variance in moments) / total)


def _raster_coordinates(index: int, layer: KernelLayer) -> Tensor:
    filters = torch.arange(layer.filters, dtype=torch.int32).repeat_interleave(layer.channels)
    channels = torch.arange(layer.channels, dtype=torch.int32).repeat(layer.filters)
    return torch.stack((torch.full_like(filters, index), filters, channels), dim=1)
