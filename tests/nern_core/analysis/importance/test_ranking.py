import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nern_core.analysis.importance.model import Criterion, Granularity
from nern_core.analysis.importance.ranking import correlate, rank, spearman
from nern_core.analysis.importance.scores import Scores, score
from nern_core.formats.kernel_layer import KernelLayer

LAYERS = (
    KernelLayer(name="first", shape=(6, 3, 3, 3), tile=None, dtype="float32"),
    KernelLayer(name="second", shape=(5, 6, 3, 3), tile=None, dtype="float32"),
)


def scores() -> Scores:
    generator = torch.Generator().manual_seed(0)
    original, decoded = ({la.name: torch.randn(la.shape, generator=generator) for la in LAYERS} for _ in range(2))
    original["second"][3, 4] = 0
    fisher = {la.name: torch.rand(la.filters, la.channels, generator=generator) for la in LAYERS}
    return score(LAYERS, original, decoded, fisher)


def plain_spearman(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Compute by definition: Pearson's correlation of ranks; equal values share their mean rank."""
    ranks = [
        [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]
        for values in (first, second)
    ]
    means = [sum(of_one) / len(of_one) for of_one in ranks]
    a, b = ([rank - mean for rank in of_one] for of_one, mean in zip(ranks, means, strict=True))
    covariance = sum(x * y for x, y in zip(a, b, strict=True))
    return float(covariance / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5)


@pytest.mark.parametrize("ties", [False, True])
def test_the_rank_correlation_is_that_of_the_definition(ties: bool) -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(size=80).astype(np.float32)
    second = (first + generator.normal(size=80)).astype(np.float32)
    if ties:
        first, second = first.round(), second.round()
    assert spearman(first, second) == pytest.approx(plain_spearman(first, second), abs=1e-6)


def test_there_is_no_correlation_with_a_constant() -> None:
    assert spearman(np.ones(5, np.float32), np.arange(5, dtype=np.float32)) is None


def test_every_two_criteria_are_compared_for_kernels_and_filters() -> None:
    found = {(c.granularity, c.first, c.second) for c in correlate(scores())}
    pairs = [
        (Criterion.RECONSTRUCTION_ERROR, Criterion.MAGNITUDE),
        (Criterion.RECONSTRUCTION_ERROR, Criterion.FISHER),
        (Criterion.MAGNITUDE, Criterion.FISHER),
    ]
    assert found == {(granularity, *pair) for granularity in Granularity for pair in pairs}


@pytest.mark.parametrize("granularity", list(Granularity))
@pytest.mark.parametrize("criterion", list(Criterion))
def test_a_ranking_names_the_extremes_and_their_scores(granularity: Granularity, criterion: Criterion) -> None:
    given = scores()
    (found,) = [r for r in rank(given) if (r.granularity, r.criterion) == (granularity, criterion)]
    for unit in (*found.most_important, *found.least_important):
        by_layer = given.by_layer[granularity, criterion][unit.layer]
        assert (unit.channel is None) == (granularity is Granularity.FILTER)
        assert unit.score == by_layer[unit.filter if unit.channel is None else (unit.filter, unit.channel)]
    small_is_important = criterion is Criterion.RECONSTRUCTION_ERROR
    most = [unit.score for unit in found.most_important]
    assert most == sorted(most, reverse=not small_is_important)
    every = given.flat(granularity, criterion)
    if not small_is_important:
        assert most[0] == every.max()


def test_a_kernel_of_zeros_is_the_least_important_by_every_criterion() -> None:
    for found in rank(scores()):
        if found.granularity is Granularity.KERNEL:
            least = found.least_important[0]
            assert (least.layer, least.filter, least.channel, least.score) == ("second", 3, 4, 0.0)
