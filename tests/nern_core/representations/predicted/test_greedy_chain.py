from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from nern_core.representations.predicted.greedy_chain import greedy_chain, greedy_unit_chain
from tests.nern_core.naive_chain import naive_chain, units

CHAINS = pytest.mark.parametrize("chain", [greedy_chain, greedy_unit_chain])
# More rows than the limit for chaining without cells.
MANY = 5000


@CHAINS
@pytest.mark.parametrize("seed", range(5))
def test_the_chain_is_the_naive_one(chain: Callable[..., NDArray[np.int64]], seed: int) -> None:
    vectors = units(60, 9, seed)
    assert chain(vectors).tolist() == naive_chain(vectors)


@CHAINS
def test_ties_go_to_the_lowest_index(chain: Callable[..., NDArray[np.int64]]) -> None:
    vectors = np.tile(units(1, 9, 0), (MANY, 1))
    assert chain(vectors).tolist() == list(range(MANY))


@CHAINS
def test_zero_rows_come_last_and_in_order(chain: Callable[..., NDArray[np.int64]]) -> None:
    vectors = units(8, 9, 1)
    vectors[[0, 3, 5]] = 0
    order = chain(vectors).tolist()
    assert order == naive_chain(vectors)
    assert order[-2:] == [3, 5]


def test_one_dimension_holds_opposite_rows_nearer_than_zero_ones() -> None:
    vectors = np.array([[1], [0], [-1], [1]], np.float32)
    assert greedy_unit_chain(vectors).tolist() == naive_chain(vectors) == [0, 3, 2, 1]


@pytest.mark.parametrize("size", [1, 2, 4, 9, 49])
def test_cells_leave_the_chain_as_it_is(size: int) -> None:
    vectors = units(MANY, size, 3)
    assert np.array_equal(greedy_unit_chain(vectors), greedy_chain(vectors))


def test_cells_leave_ties_between_equal_rows_as_they_are() -> None:
    vectors = units(MANY, 9, 4)[np.random.default_rng(0).integers(0, MANY // 10, MANY)]
    assert np.array_equal(greedy_unit_chain(vectors), greedy_chain(vectors))


@pytest.mark.parametrize("first_rows", [[], [0], [0, 1]])
def test_cells_leave_zero_rows_where_they_are(first_rows: list[int]) -> None:
    vectors = units(MANY, 9, 5)
    vectors[[*first_rows, 2000, 2001, 4999]] = 0
    assert np.array_equal(greedy_unit_chain(vectors), greedy_chain(vectors))
