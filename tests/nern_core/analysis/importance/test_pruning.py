import pytest
import torch
from torch import Tensor

from nern_core.analysis.importance.model import Criterion, Granularity, PruningOrder
from nern_core.analysis.importance.pruning import order_units, possible_orders, prune, units_left, weight_counts
from nern_core.analysis.importance.scores import Scores
from nern_core.formats.kernel_layer import KernelLayer

CONV = KernelLayer(name="conv", shape=(2, 2, 2, 2), tile=None, dtype="float32")
MATRIX = KernelLayer(name="matrix", shape=(2, 5), tile=2, dtype="float32")


def scores(**criteria: list[float]) -> Scores:
    """Return scores of the four kernels of `CONV`, equal for all criteria unless given."""
    default = [1.0, 2.0, 3.0, 4.0]
    by_layer: dict[tuple[Granularity, Criterion], dict[str, Tensor]] = {}
    for criterion in Criterion:
        values = torch.tensor(criteria.get(criterion.name.lower(), default)).reshape(2, 2)
        by_layer[Granularity.KERNEL, criterion] = {"conv": values}
        by_layer[Granularity.FILTER, criterion] = {"conv": values.sum(dim=1)}
    return Scores(layers=(CONV,), by_layer=by_layer)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (PruningOrder.LARGEST_ERROR, [1, 3, 0, 2]),
        (PruningOrder.SMALLEST_ERROR, [2, 0, 3, 1]),
        (PruningOrder.SMALLEST_MAGNITUDE, [0, 1, 2, 3]),
        (PruningOrder.SMALLEST_FISHER, [3, 2, 1, 0]),
    ],
)
def test_kernels_go_by_the_score_that_the_order_names(order: PruningOrder, expected: list[int]) -> None:
    given = scores(reconstruction_error=[0.3, 0.9, 0.1, 0.5], fisher=[4.0, 3.0, 2.0, 1.0])
    assert order_units(given, Granularity.KERNEL, order).tolist() == expected


def test_filters_go_by_the_scores_of_filters() -> None:
    assert order_units(scores(), Granularity.FILTER, PruningOrder.LARGEST_ERROR).tolist() == [1, 0]


@pytest.mark.parametrize("order", list(PruningOrder))
def test_kernels_of_zeros_go_first_in_every_order(order: PruningOrder) -> None:
    given = scores(
        magnitude=[1.0, 0.0, 2.0, 3.0], reconstruction_error=[0.5, 0.0, 0.4, 0.3], fisher=[1.0, 0.0, 2.0, 3.0]
    )
    assert order_units(given, Granularity.KERNEL, order)[0] == 1


def test_equal_scores_go_in_raster_order() -> None:
    given = scores(magnitude=[1.0, 1.0, 1.0, 1.0])
    assert order_units(given, Granularity.KERNEL, PruningOrder.SMALLEST_MAGNITUDE).tolist() == [0, 1, 2, 3]


def test_the_random_order_is_the_same_every_time() -> None:
    first, second = (order_units(scores(), Granularity.KERNEL, PruningOrder.RANDOM) for _ in range(2))
    assert torch.equal(first, second)
    assert sorted(first.tolist()) == [0, 1, 2, 3]


def test_an_order_whose_criterion_is_not_known_everywhere_is_left_out() -> None:
    given = scores()
    without = {key: {} if key[1] is Criterion.FISHER else value for key, value in given.by_layer.items()}
    partial = Scores(layers=given.layers, by_layer=without)
    assert set(possible_orders(given)) - set(possible_orders(partial)) == {PruningOrder.SMALLEST_FISHER}


def test_units_go_as_long_as_their_weights_fit_into_the_share() -> None:
    weights = torch.tensor([4, 1, 3, 2])
    first_to_go = torch.tensor([2, 0, 3, 1])
    left = [units_left(first_to_go, weights, share).tolist() for share in (0.0, 0.2, 0.3, 0.7, 0.9, 1.0)]
    assert left == [
        [True, True, True, True],
        [True, True, True, True],
        [True, True, False, True],
        [False, True, False, True],
        [False, True, False, False],
        [False, False, False, False],
    ]


def test_weights_are_counted_without_what_fills_up_a_tile() -> None:
    layers = (CONV, MATRIX)
    assert weight_counts(layers, Granularity.KERNEL).tolist() == [4, 4, 4, 4, 2, 2, 1, 2, 2, 1]
    assert weight_counts(layers, Granularity.FILTER).tolist() == [8, 8, 5, 5]


def test_what_is_not_left_is_zero_and_nothing_else_changes() -> None:
    tensors = {"conv": torch.ones(CONV.shape), "matrix": torch.ones(MATRIX.shape), "bias": torch.ones(2)}
    left = torch.ones(10, dtype=torch.bool)
    left[[1, 6]] = False
    pruned = prune(tensors, {}, (CONV, MATRIX), Granularity.KERNEL, left)
    expected = {name: tensor.clone() for name, tensor in tensors.items()}
    expected["conv"][0, 1] = 0
    expected["matrix"][0, 4] = 0
    assert all(torch.equal(pruned[name], expected[name]) for name in tensors)
    assert torch.equal(tensors["conv"], torch.ones(CONV.shape))


def test_a_filter_is_pruned_whole_in_its_own_dtype_and_under_all_its_names() -> None:
    weight = torch.ones(CONV.shape, dtype=torch.float16)
    left = torch.tensor([True, False])
    pruned = prune({"conv": weight, "twin": weight.clone()}, {"twin": "conv"}, (CONV,), Granularity.FILTER, left)
    for name in ("conv", "twin"):
        assert pruned[name].dtype is torch.float16
        assert torch.equal(pruned[name][0], torch.ones(2, 2, 2, dtype=torch.float16))
        assert not pruned[name][1].any()
