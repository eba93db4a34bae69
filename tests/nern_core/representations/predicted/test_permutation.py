import numpy as np
import pytest
import torch

from nern_core.contract.options import Permutation
from nern_core.representations.predicted.permutation import inverse, order_kernels
from tests.nern_core.naive_chain import naive_chain, units


def test_without_permutation_there_is_no_order() -> None:
    assert order_kernels(torch.randn(6, 9), 2, Permutation.NONE) is None


@pytest.mark.parametrize("method", [Permutation.IN_FILTER, Permutation.CROSS_FILTER])
def test_an_order_names_every_kernel_once(method: Permutation) -> None:
    order = order_kernels(torch.randn(40, 9), 8, method)
    assert order is not None
    assert sorted(order.tolist()) == list(range(40))


def test_in_filter_keeps_the_kernels_of_a_filter_together() -> None:
    order = order_kernels(torch.randn(40, 9), 8, Permutation.IN_FILTER)
    assert order is not None
    filters = (order // 5).reshape(8, 5)
    assert (filters == filters[:, :1]).all()


def test_in_filter_chains_filters_by_the_sum_of_their_kernels_cosines() -> None:
    vectors = units(12, 9, 2)
    order = order_kernels(torch.from_numpy(vectors), 4, Permutation.IN_FILTER)
    inner = [[3 * f + c for c in naive_chain(vectors[3 * f : 3 * f + 3])] for f in range(4)]
    outer = naive_chain(np.stack([vectors[rows].reshape(-1) for rows in inner]))
    assert order is not None
    assert order.tolist() == [kernel for f in outer for kernel in inner[f]]


def test_magnitude_does_not_matter() -> None:
    kernels = torch.randn(30, 9)
    scaled = kernels * (torch.rand(30, 1) + 0.1)
    first = order_kernels(kernels, 5, Permutation.CROSS_FILTER)
    second = order_kernels(scaled, 5, Permutation.CROSS_FILTER)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)


def test_the_inverse_undoes_an_order() -> None:
    order = torch.tensor([2, 0, 3, 1])
    rows = torch.arange(4)
    assert torch.equal(rows[order][inverse(order)], rows)
