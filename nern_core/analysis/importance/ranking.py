"""The extremes of every criterion, and the rank correlation of any two criteria."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nern_core.analysis.importance.model import Correlation, Criterion, Granularity, PruningOrder, RankedUnit, Ranking
from nern_core.analysis.importance.pruning import order_units
from nern_core.analysis.importance.scores import Scores

_SHOWN = 20
_LEAST_IMPORTANT_FIRST = {
    Criterion.RECONSTRUCTION_ERROR: PruningOrder.LARGEST_ERROR,
    Criterion.MAGNITUDE: PruningOrder.SMALLEST_MAGNITUDE,
    Criterion.FISHER: PruningOrder.SMALLEST_FISHER,
}


def rank(scores: Scores) -> tuple[Ranking, ...]:
    """Rank the most and the least important kernels and filters, by every criterion with scores for all layers."""
    return tuple(
        _ranking(scores, granularity, criterion) for granularity in Granularity for criterion in scores.complete
    )


def correlate(scores: Scores) -> tuple[Correlation, ...]:
    """Compare each pair of criteria with scores for all layers."""
    return tuple(
        Correlation(
            granularity=granularity,
            first=first,
            second=second,
            spearman=spearman(scores.flat(granularity, first).numpy(), scores.flat(granularity, second).numpy()),
        )
        for granularity in Granularity
        for first, second in combinations(scores.complete, 2)
    )


def spearman(first: NDArray[np.float32], second: NDArray[np.float32]) -> float | None:
    """Return Spearman's rank correlation of two series, None if one is constant. Equal values share their mean rank."""
    ranks = np.stack([_ranks(first), _ranks(second)])
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    return round(float(centred[0] @ centred[1] / norms.prod()), 6) if norms.all() else None


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks: NDArray[np.float64] = counts.cumsum() - (counts - 1) / 2
    return mean_ranks[places]


def _ranking(scores: Scores, granularity: Granularity, criterion: Criterion) -> Ranking:
    order = order_units(scores, granularity, _LEAST_IMPORTANT_FIRST[criterion])
    values = scores.flat(granularity, criterion)

    def shown(units: Tensor) -> tuple[RankedUnit, ...]:
        return tuple(_unit(scores, granularity, int(unit), float(values[unit])) for unit in units)

    return Ranking(
        granularity=granularity,
        criterion=criterion,
        most_important=shown(order.flip(0)[:_SHOWN]),
        least_important=shown(order[:_SHOWN]),
    )


def _unit(scores: Scores, granularity: Granularity, index: int, score: float) -> RankedUnit:
    """Return the kernel or filter at this index among those of all layers."""
    for layer in scores.layers:
        channels = layer.channels if granularity is Granularity.KERNEL else 1
        if index < layer.filters * channels:
            of_kernel = index % channels if granularity is Granularity.KERNEL else None
            return RankedUnit(layer=layer.name, filter=index // channels, channel=of_kernel, score=score)
        index -= layer.filters * channels
    raise IndexError(index)
