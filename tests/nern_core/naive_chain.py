"""The definition of a greedy chain, in plain Python, and rows to chain."""

import numpy as np
from numpy.typing import NDArray


def naive_chain(vectors: NDArray[np.float32]) -> list[int]:
    """Chain by definition, in plain Python: a zero row has the lowest similarity to all others."""
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
