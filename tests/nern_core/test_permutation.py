import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nern_core.options import Permutation
from nern_core.permutation import greedy_chain, inverse, order_kernels


def naive_chain(vectors: NDArray[np.float32]) -> list[int]:
    """The definition, in plain Python: the similarity of a zero row to all others is the least there is."""
    order, rest = [0], list(range(1, len(vectors)))
    while rest:
        current = vectors[order[-1]]

        def similarity(row: int, current: NDArray[np.float32] = current) -> float:
            if not current.any() or not vectors[row].any():
                return float("-inf")
            total = np.float32(0)
            for x, y in zip(current, vectors[row], strict=True):
                total += x * y
            return float(total)

        best = max(rest, key=lambda row: (similarity(row), -row))
        order.append(best)
        rest.remove(best)
    return order


def units(count: int, size: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    normalized: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normalized


@pytest.mark.parametrize("seed", range(5))
def test_the_chain_is_the_naive_one(seed: int) -> None:
    vectors = units(60, 9, seed)
    assert greedy_chain(vectors).tolist() == naive_chain(vectors)


def test_ties_go_to_the_lowest_index() -> None:
    vectors = np.tile(units(1, 9, 0), (6, 1))
    assert greedy_chain(vectors).tolist() == [0, 1, 2, 3, 4, 5]


def test_zero_kernels_come_last_and_in_order() -> None:
    vectors = units(8, 9, 1)
    vectors[[0, 3, 5]] = 0
    order = greedy_chain(vectors).tolist()
    assert order == naive_chain(vectors)
    assert order[-2:] == [3, 5]


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
