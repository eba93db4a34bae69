"""Accuracy of the original network after the least important kernels or filters were set to zero.

One order covers all layers. A share is one of all represented weights: kernels or filters are removed, in order, as
long as they fit into it, so that orders are comparable even if one prefers larger filters than another. Nothing else
changes: biases and normalization stay, and the network is not retrained.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from nern_core.analysis.importance.model import Criterion, Granularity, PruningOrder, PruningPoint
from nern_core.analysis.importance.scores import Scores, weights_of_kernels
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.networks.evaluate import Evaluator
from nern_core.tensors.kernels import assemble

SHARES: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SEED = 0

# The criterion of each order; True: the largest score is pruned first.
_SORTED_BY: Final = {
    PruningOrder.LARGEST_ERROR: (Criterion.RECONSTRUCTION_ERROR, True),
    PruningOrder.SMALLEST_ERROR: (Criterion.RECONSTRUCTION_ERROR, False),
    PruningOrder.SMALLEST_MAGNITUDE: (Criterion.MAGNITUDE, False),
    PruningOrder.SMALLEST_FISHER: (Criterion.FISHER, False),
}


def pruning_points(
    tensors: Mapping[str, Tensor],
    tied: Mapping[str, str],
    scores: Scores,
    evaluator: Evaluator,
) -> Iterator[PruningPoint]:
    """Measure every share of both granularities, in every order whose scores are complete.

    `tied` names the tensors that repeat a represented one: they are pruned with it.
    """
    unpruned = evaluator.accuracy(tensors)
    for granularity in Granularity:
        weights = weight_counts(scores.layers, granularity)
        for pruning_order in possible_orders(scores):
            first_to_go = order_units(scores, granularity, pruning_order)
            for share in SHARES:
                accuracy = unpruned
                if share:
                    left = units_left(first_to_go, weights, share)
                    accuracy = evaluator.accuracy(prune(tensors, tied, scores.layers, granularity, left))
                yield PruningPoint(granularity=granularity, order=pruning_order, share=share, accuracy=accuracy)


def possible_orders(scores: Scores) -> tuple[PruningOrder, ...]:
    """Return the orders whose criterion has scores for every layer."""
    return tuple(o for o in PruningOrder if o is PruningOrder.RANDOM or _SORTED_BY[o][0] in scores.complete)


def order_units(scores: Scores, granularity: Granularity, order: PruningOrder) -> Tensor:
    """Return indices of all kernels or filters (layer by layer, in raster order), sorted by when they are pruned."""
    magnitudes = scores.flat(granularity, Criterion.MAGNITUDE)
    if order is PruningOrder.RANDOM:
        keys = torch.rand(len(magnitudes), generator=torch.Generator().manual_seed(_SEED))
    else:
        criterion, largest_first = _SORTED_BY[order]
        keys = scores.flat(granularity, criterion) * (-1 if largest_first else 1)
    return keys.masked_fill(magnitudes == 0, -torch.inf).argsort(stable=True)


def units_left(first_to_go: Tensor, weights: Tensor, share: float) -> Tensor:
    """Return a mask, bool (units,), of the kernels or filters that remain after a share of all weights is pruned."""
    gone = weights[first_to_go].cumsum(dim=0) <= round(share * int(weights.sum()))
    left = torch.ones(len(weights), dtype=torch.bool)
    left[first_to_go[gone]] = False
    return left


def prune(
    tensors: Mapping[str, Tensor],
    tied: Mapping[str, str],
    layers: Sequence[KernelLayer],
    granularity: Granularity,
    left: Tensor,
) -> dict[str, Tensor]:
    """Set to zero every kernel or filter that is not `left`, bool (units,)."""
    pruned = dict(tensors)
    masks = left.split([layer.kernels if granularity is Granularity.KERNEL else layer.filters for layer in layers])
    for layer, mask in zip(layers, masks, strict=True):
        of_kernels = mask.reshape(layer.filters, -1).expand(layer.filters, layer.channels).reshape(-1, 1)
        of_weights = assemble(of_kernels.expand(layer.kernels, layer.kernel_values), layer)
        pruned[layer.name] = torch.where(of_weights, tensors[layer.name], 0.0)
    return pruned | {alias: pruned[name] for alias, name in tied.items()}


def weight_counts(layers: Sequence[KernelLayer], granularity: Granularity) -> Tensor:
    """Return the number of weights of every kernel or filter, int64 (units,)."""
    counts = [weights_of_kernels(layer) for layer in layers]
    return torch.cat([n.flatten() if granularity is Granularity.KERNEL else n.sum(dim=1) for n in counts])
