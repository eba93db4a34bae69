"""Scores of every represented kernel and filter (paper, section 5.1).

Let w be the weights of a kernel, or of all kernels of a filter, and v what the encoding decodes them to.

* `reconstruction-error` is |w - v| / |w|.
* `magnitude` is the root mean square of w. Unlike its norm, it does not grow with the number of weights, so
  kernels of different shapes and filters of different layers can be compared.
* `fisher` is the sum over kernels of F |w|^2 / 2, F being the mean Fisher information of the kernel's weights: the
  second-order estimate of how much the loss rises once w is zero. Rises add up, so no normalization is needed.

A large magnitude or Fisher score means important, and a small error: what the predictor spends its capacity on. How
good a guide the error is depends on the encoding. Measured on ResNet20 (bench/results/importance.json), it is a good
one after reconstruction alone; after distillation it is a poor one for kernels and none for filters. All three
are 0 for weights that are all zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nern_core.analysis.importance.model import Criterion, Granularity
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.tensors.kernels import cut

# Far below any relevant norm; keeps the relative error of vanishing weights finite.
_SMALLEST_NORM = 1e-12

ScoresByLayer = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Scores by granularity and criterion, then by layer: float32 (filters, channels) or (filters,).

    Layers without Fisher information have no `fisher` scores.
    """

    layers: tuple[KernelLayer, ...]
    by_layer: Mapping[tuple[Granularity, Criterion], ScoresByLayer]

    @property
    def complete(self) -> tuple[Criterion, ...]:
        """Return the criteria with scores for every layer, which can therefore rank all kernels."""
        return tuple(c for c in Criterion if len(self.by_layer[Granularity.KERNEL, c]) == len(self.layers))

    def flat(self, granularity: Granularity, criterion: Criterion) -> Tensor:
        """Return the scores (n,) of all kernels or filters, layer by layer in raster order."""
        by_layer = self.by_layer[granularity, criterion]
        return torch.cat([by_layer[layer.name].flatten() for layer in self.layers])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sums:
    """Sums over the weights of each kernel or filter, (filters, channels) or (filters,); `weights` is their number."""

    weights: Tensor
    squares: Tensor
    squared_errors: Tensor
    rises: Tensor | None

    def of_filters(self) -> "_Sums":
        """Sum these sums of kernels to those of filters."""
        return _Sums(
            weights=self.weights.sum(dim=1),
            squares=self.squares.sum(dim=1),
            squared_errors=self.squared_errors.sum(dim=1),
            rises=None if self.rises is None else self.rises.sum(dim=1),
        )

    def scores(self) -> dict[Criterion, Tensor]:
        """Compute the scores by criterion, float32."""
        norms = self.squares.sqrt()
        errors = self.squared_errors.sqrt() / (norms + _SMALLEST_NORM)
        scores = {
            Criterion.RECONSTRUCTION_ERROR: torch.where(norms > 0, errors, 0.0),
            Criterion.MAGNITUDE: (self.squares / self.weights).sqrt(),
        }
        if self.rises is not None:
            scores[Criterion.FISHER] = self.rises
        return {criterion: values.float() for criterion, values in scores.items()}


def score(
    layers: Sequence[KernelLayer],
    original: Mapping[str, Tensor],
    decoded: Mapping[str, Tensor],
    fisher: Mapping[str, Tensor],
) -> Scores:
    """Score the kernels and filters of all layers.

    `original` and `decoded` hold the tensors by name, `fisher` the results of `kernel_fisher`: (filters, channels) by
    name.
    """
    by_layer: dict[tuple[Granularity, Criterion], dict[str, Tensor]] = {
        (granularity, criterion): {} for granularity in Granularity for criterion in Criterion
    }
    for layer in layers:
        kernels = _sums(layer, original[layer.name], decoded[layer.name], fisher.get(layer.name))
        for granularity, sums in ((Granularity.KERNEL, kernels), (Granularity.FILTER, kernels.of_filters())):
            for criterion, values in sums.scores().items():
                by_layer[granularity, criterion][layer.name] = values
    return Scores(layers=tuple(layers), by_layer=by_layer)


def weights_of_kernels(layer: KernelLayer) -> Tensor:
    """Count the weights of each kernel, int64 (filters, channels); the last tile of a matrix may have fewer."""
    of_channels = torch.full((layer.channels,), layer.kernel_values)
    of_channels[-1] -= layer.channels * layer.kernel_values - layer.inputs
    return of_channels.expand(layer.filters, layer.channels)


def _sums(layer: KernelLayer, original: Tensor, decoded: Tensor, fisher: Tensor | None) -> _Sums:
    def sum_of_squares(values: Tensor) -> Tensor:
        return values.square().sum(dim=1, dtype=torch.float64).reshape(layer.filters, layer.channels)

    kernels = cut(original, layer)
    squares = sum_of_squares(kernels)
    return _Sums(
        weights=weights_of_kernels(layer),
        squares=squares,
        squared_errors=sum_of_squares(cut(decoded, layer) - kernels),
        rises=None if fisher is None else fisher.cpu().double() * squares / 2,
    )
