"""Compare predictor and original at equal bytes, in words, from the measured points."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nern_core.analysis.meta_compression.model import Method, Point, Subject

_SIZES_COMPARED = 1001


def verdicts(points: Sequence[Point]) -> tuple[str, ...]:
    """Return one sentence per method."""
    return tuple(_verdict(points, method) for method in dict.fromkeys(point.method for point in points))


def accuracy_at(points: Sequence[Point], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate accuracy at these bytes, linearly in the logarithm of the bytes, between the nearest points."""
    known = {point.bytes: point.accuracy for point in points}
    taken = sorted(known)
    return np.interp(np.log(sizes), np.log(taken), [known[size] for size in taken])


def _verdict(points: Sequence[Point], method: Method) -> str:
    nern, original = (
        [point for point in points if (point.subject, point.method) == (subject, method)] for subject in Subject
    )
    low = max(min(point.bytes for point in side) for side in (nern, original))
    high = min(max(point.bytes for point in side) for side in (nern, original))
    name = method.value.capitalize()
    if low > high:
        return f"{name}: the two have no size in common, so they cannot be compared at equal bytes."
    # Include the measured sizes, because the curves have their corners there.
    corners = [point.bytes for point in (*nern, *original) if low <= point.bytes <= high]
    sizes = np.union1d(np.geomspace(low, high, _SIZES_COMPARED), corners)
    gains = accuracy_at(nern, sizes) - accuracy_at(original, sizes)
    return f"{name}: at equal bytes, from {low:,} to {high:,}, {_compared(gains)}."


def _compared(gains: NDArray[np.float64]) -> str:
    """Describe which one is more accurate, and by how many points; `gains` are those of the compressed predictor."""
    if (gains > 0).all():
        return f"the compressed predictor is more accurate throughout, {_margin(gains)}"
    if (gains < 0).all():
        return f"the compressed original is more accurate throughout, {_margin(-gains)}"
    if not gains.any():
        return "both are equally accurate"
    share = float((gains > 0).mean())
    return (
        f"the compressed predictor is more accurate on {100 * share:.0f} % of the range (by up to "
        f"{max(0.0, gains.max()):.2f} points), the compressed original by up to {max(0.0, -gains.min()):.2f} points"
    )


def _margin(gains: NDArray[np.float64]) -> str:
    return f"by {gains.min():.2f} to {gains.max():.2f} points"
