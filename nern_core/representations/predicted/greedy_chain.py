"""Greedy chains: start at row 0, then repeat: append the unused row of largest dot product, ties to the lowest index.

A zero row is the least similar to all others, and all others to it. Both functions return the same chain for inputs
that both accept; every dot product is summed in the order of the dimensions, in float32.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

# Below this number of rows, a full scan is faster.
_FEWEST_ROWS_IN_CELLS = 2048
_CELLS_PER_ROOT = 4.0
# Far above the rounding error of a bound on a dot product of unit vectors, and too small to weaken pruning.
_BOUND_MARGIN = np.float32(1e-5)


def greedy_chain(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Chain any rows, n x d, by scanning all remaining rows in every step: O(n^2 d)."""
    columns = np.ascontiguousarray(rows.T)
    return np.asarray(_chain_all(columns, np.abs(columns).max(axis=0) > 0), dtype=np.int64)


def greedy_unit_chain(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Chain rows of length 1 or 0, n x d.

    The rows are grouped into cells around some of them. Each step skips the cells that, by the triangle inequality for
    angles, cannot hold a row as similar as the best one found.
    """
    nonzero = np.flatnonzero(np.abs(rows).max(axis=1) > 0)
    if len(nonzero) < _FEWEST_ROWS_IN_CELLS:
        return greedy_chain(rows)
    zero = np.setdiff1d(np.arange(len(rows)), nonzero)
    # From a zero row at the front, the chain continues at the lowest index, as it does among the zero rows at the end.
    leading = zero[zero == np.arange(len(zero))]
    cells = max(1, round(_CELLS_PER_ROOT * math.sqrt(len(nonzero))))
    units = np.ascontiguousarray(rows[nonzero])
    centres = units[np.arange(cells) * len(units) // cells]
    order = nonzero[_chain_in_cells(units, *_assign(units, centres))]
    return np.concatenate((leading, order, zero[len(leading) :]))


@numba.njit(cache=True)
def _dot_products(
    vector: NDArray[np.float32],
    columns: NDArray[np.float32],
    start: int,
    count: int,
    products: NDArray[np.float32],
) -> None:
    """Write the dot products of a vector with `count` columns of d x n to the front of `products`."""
    products[:count] = 0
    for d in range(len(vector)):
        value = vector[d]
        for j in range(count):
            products[j] += value * columns[d, start + j]


# There is no NaN here; declaring that lets the loop compile to vector instructions.
@numba.njit(cache=True, fastmath={"nnan", "nsz"})
def _largest(values: NDArray[np.float32], count: int) -> np.float32:
    """Return the maximum of the first `count` values; -inf if `count` is 0."""
    largest = np.float32(-np.inf)
    for j in range(count):
        largest = max(largest, values[j])
    return largest


@numba.njit(cache=True)
def _chain_all(columns: NDArray[np.float32], nonzero: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Chain all columns, d x n. The remaining columns are kept dense by moving the last one into each gap."""
    count = columns.shape[1]
    columns = columns.copy()
    nonzero = nonzero.copy()
    index = np.arange(count)
    similarity = np.empty(count, np.float32)
    order = np.empty(count, np.int64)
    current = 0
    for place in range(count):
        order[place] = index[current]
        vector = columns[:, current].copy()
        vector_nonzero = nonzero[current]
        rest = count - place - 1
        index[current] = index[rest]
        nonzero[current] = nonzero[rest]
        columns[:, current] = columns[:, rest]
        _dot_products(vector, columns, 0, rest, similarity)
        if not vector_nonzero:
            similarity[:rest] = -np.inf
        else:
            for j in range(rest):
                if not nonzero[j]:
                    similarity[j] = -np.inf
        best = _largest(similarity, rest)
        current = 0
        for j in range(rest):
            if similarity[j] == best and (similarity[current] != best or index[j] < index[current]):
                current = j
    return order


@numba.njit(cache=True)
def _assign(
    units: NDArray[np.float32], centres: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Return the centres as columns, the cell of each row, and the cosine of each cell's angular radius."""
    columns = centres.T.copy()
    cells = columns.shape[1]
    cell_of = np.empty(len(units), np.int64)
    reach = np.ones(cells, np.float32)
    similarity = np.empty(cells, np.float32)
    for row in range(len(units)):
        _dot_products(units[row], columns, 0, cells, similarity)
        nearest = np.argmax(similarity)
        cell_of[row] = nearest
        reach[nearest] = min(reach[nearest], similarity[nearest])
    return columns, cell_of, reach


@numba.njit(cache=True)
def _chain_in_cells(
    units: NDArray[np.float32],
    centres: NDArray[np.float32],
    cell_of: NDArray[np.int64],
    reach: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Chain nonzero unit rows; each cell is a run of columns with its unused ones in front."""
    cells, count = centres.shape[1], len(units)
    index = np.argsort(cell_of, kind="mergesort")
    columns = units[index].T.copy()
    sizes = np.bincount(cell_of, minlength=cells)
    starts = np.cumsum(sizes) - sizes
    cosine = np.minimum(reach - _BOUND_MARGIN, np.float32(1))
    sine = np.sqrt(np.maximum(np.float32(0), 1 - cosine * cosine))
    place_of = np.empty(count, np.int64)
    for column in range(count):
        place_of[index[column]] = column
    order = np.empty(count, np.int64)
    similarity = np.empty(max(sizes.max(), 1), np.float32)
    bounds = np.empty(cells, np.float32)
    current = 0
    for place in range(count):
        order[place] = current
        vector = units[current]
        # Remove the row from its cell: the last unused row moves into its place.
        cell = cell_of[current]
        gap, last = place_of[current], starts[cell] + sizes[cell] - 1
        columns[:, gap] = columns[:, last]
        index[gap] = index[last]
        place_of[index[gap]] = gap
        sizes[cell] -= 1
        _bound(vector, centres, cosine, sine, bounds)
        best = np.float32(-np.inf)
        current = -1
        # The row's own cell is checked first, because it most likely holds a similar row.
        for turn in range(cells + 1):
            candidate = cell if turn == 0 else turn - 1
            size = sizes[candidate]
            if size == 0 or (turn > 0 and (candidate == cell or bounds[candidate] < best)):
                continue
            start = starts[candidate]
            _dot_products(vector, columns, start, size, similarity)
            largest = _largest(similarity, size)
            if largest < best:
                continue
            for j in range(size):
                if similarity[j] == largest and (largest > best or index[start + j] < current):
                    best = largest
                    current = index[start + j]
    return order


@numba.njit(cache=True)
def _bound(
    vector: NDArray[np.float32],
    centres: NDArray[np.float32],
    cosine: NDArray[np.float32],
    sine: NDArray[np.float32],
    bounds: NDArray[np.float32],
) -> None:
    """Bound the dot products of a unit vector with each cell's rows from above: cos(angle to the centre - reach)."""
    cells = len(bounds)
    _dot_products(vector, centres, 0, cells, bounds)
    for cell in range(cells):
        towards = bounds[cell]
        across = np.sqrt(max(np.float32(0), 1 - towards * towards))
        outside = towards * cosine[cell] + across * sine[cell]
        bounds[cell] = (np.float32(1) if towards >= cosine[cell] else outside) + _BOUND_MARGIN
