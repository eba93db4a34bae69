"""The targets of the predictor: the kernels of each layer, scaled, in the order of their coordinates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nern_core.container.step_grid import SMALLEST_STEP, STEPS_PER_OCTAVE, exponents_of
from nern_core.contract.options import Permutation
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.predicted.layer_scales import layer_scales
from nern_core.representations.predicted.permutation import inverse, order_kernels
from nern_core.tensors.kernels import assemble, by_head, cut
from nern_core.tensors.norms import root_mean_square

# In steps of the grid: a factor of 32 between the scales of two layers.
_LARGEST_COMMON_SPREAD = 5 * STEPS_PER_OCTAVE


@dataclass(frozen=True, slots=True)
class HeadTargets:
    """The n kernels of one shape, layer by layer.

    `coordinates` int32 (n, 3) are (layer, filter, channel); `kernels` float32 (n, kernel values) are divided by the
    scale; `layers` are the indices of their layers.
    """

    layers: tuple[int, ...]
    coordinates: Tensor
    kernels: Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of every head, and the data to turn predictions into weights.

    `orders[l][p]` is the raster index of the kernel at the p-th coordinate of layer l (None: raster order), `positions`
    are the inverses. Predictions times the scale of their layer are weights: `scale` times 2 ** (exponent / 8), or 0
    for a layer of zeros, whose exponent is None. Without `exponents` all layers have the same scale. `tied` maps
    tensors that repeat one of the layers to it.
    """

    layers: tuple[KernelLayer, ...]
    orders: tuple[Tensor | None, ...]
    positions: tuple[Tensor | None, ...]
    scale: float
    exponents: tuple[int | None, ...]
    heads: dict[str, HeadTargets]
    tied: Mapping[str, str]

    @property
    def scales(self) -> tuple[float, ...]:
        """Return the scale of each layer."""
        return layer_scales(self.scale, self.exponents, len(self.layers))

    @property
    def kernels(self) -> int:
        """Return the number of kernels of all layers."""
        return sum(layer.kernels for layer in self.layers)

    def to(self, device: torch.device) -> "Targets":
        """Return the same targets with their tensors on another device; the orders stay on the CPU."""
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
    distilled: bool = False,
    tied: Mapping[str, str] | None = None,
) -> Targets:
    """Cut, order and scale the represented tensors.

    With `scaled`, each layer is divided by the root mean square of its weights. If the layers are `distilled` and of
    similar scales, all of them are divided by that of all weights instead, because the distillation loss weighs layers
    itself, and one scale is more accurate. `tied` maps names of repeated tensors: repeated by repeating.
    """
    scale, exponents = _scales([tensors[layer.name] for layer in layers]) if scaled else (1.0, ())
    if distilled:
        exponents = _common_exponents(exponents)
    divisors = layer_scales(scale, exponents, len(layers))
    kernels = [
        (cut(tensors[layer.name], layer, torch.float64) / (divisor or 1.0)).float()
        for layer, divisor in zip(layers, divisors, strict=True)
    ]
    orders = tuple(
        order_kernels(values, layer.filters, permutation) for values, layer in zip(kernels, layers, strict=True)
    )
    heads = {
        head: HeadTargets(
            layers=indices,
            coordinates=torch.cat([_raster_coordinates(i, layers[i]) for i in indices]),
            kernels=torch.cat([rearrange(kernels[i], orders[i]) for i in indices]),
        )
        for head, indices in by_head(layers).items()
    }
    positions = tuple(None if order is None else inverse(order) for order in orders)
    represented = {layer.name for layer in layers}
    repeating = {alias: name for alias, name in (tied or {}).items() if name in represented}
    return Targets(tuple(layers), orders, positions, scale, exponents, heads, repeating)


def to_weights(kernels: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
    """Turn the kernels of every head, (n, kernel values) in coordinate order, into weights by name.

    Tied names share one tensor. Differentiable.
    """
    weights = {}
    scales = targets.scales
    for head, values in kernels.items():
        indices = targets.heads[head].layers
        for index, rows in zip(indices, values.split([targets.layers[i].kernels for i in indices]), strict=True):
            raster = rearrange(rows, targets.positions[index])
            weights[targets.layers[index].name] = assemble(raster * scales[index], targets.layers[index])
    return weights | {alias: weights[name] for alias, name in targets.tied.items() if name in weights}


def rearrange(rows: Tensor, order: Tensor | None) -> Tensor:
    """Move one row per kernel from raster order to coordinate order or, given the inverse order, back."""
    return rows if order is None else rows[order]


def _scales(tensors: Sequence[Tensor]) -> tuple[float, tuple[int | None, ...]]:
    """Return the root mean square of all tensors, and the exponent of each tensor relative to it."""
    of_tensors = torch.stack([root_mean_square(tensor) for tensor in tensors])
    largest = float(of_tensors.max())
    if largest == 0:
        return 1.0, (None,) * len(tensors)
    counts = torch.tensor([tensor.numel() for tensor in tensors], dtype=torch.float64)
    scale = largest * float(((of_tensors / largest).square() * counts).sum() / counts.sum()) ** 0.5
    exponents = exponents_of((of_tensors / scale).clamp(min=SMALLEST_STEP)).tolist()
    return scale, tuple(None if size == 0 else exponent for size, exponent in zip(of_tensors, exponents, strict=True))


def _common_exponents(exponents: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Remove all exponents, except those of layers of zeros, if the layers are of similar scales."""
    present = [exponent for exponent in exponents if exponent is not None]
    if present and max(present) - min(present) > _LARGEST_COMMON_SPREAD:
        return exponents
    return tuple(None if exponent is None else 0 for exponent in exponents) if None in exponents else ()


def _raster_coordinates(index: int, layer: KernelLayer) -> Tensor:
    filters = torch.arange(layer.filters, dtype=torch.int32).repeat_interleave(layer.channels)
    channels = torch.arange(layer.channels, dtype=torch.int32).repeat(layer.filters)
    return torch.stack((torch.full_like(filters, index), filters, channels), dim=1)
