"""The bits of integers under the distributions that a file would hold."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nern_core.codec.distributions import COUNTED_LEVELS, SHIFTS, fit_continuations, half_frequencies
from nern_core.codec.layers import CLASSES

# Larger magnitudes count as this one.
LARGEST_MAGNITUDE: Final = 255
_HALVES = 2048
_BITS_OF_EXCESS = 8
_SHIFTS = torch.from_numpy(SHIFTS)


def count_levels(integers: Tensor, classes: Tensor) -> Tensor:
    """Count the levels of integers (n,) in each of their classes (n,), int64 (classes, 256)."""
    shifts = _SHIFTS.to(classes.device)[classes.long()]
    # For a class without a shift, the level is the magnitude; otherwise negative numbers start at -1.
    folded = torch.where((integers < 0) & (shifts > 0), ~integers, integers.abs())
    levels = (folded.long() >> shifts).clamp(max=COUNTED_LEVELS - 1)
    counts = (classes.long() * COUNTED_LEVELS + levels).bincount(minlength=CLASSES * COUNTED_LEVELS)
    return counts.view(CLASSES, COUNTED_LEVELS)


def fitted_bits(counts: Tensor) -> NDArray[np.float64]:
    """Return the bits of an integer by class and magnitude, (classes, 256), for distributions fitted to these counts.

    They include the sign. Of a class without integers, they are 0.
    """
    rows = counts.cpu().numpy()
    return np.stack([_bits_of_magnitudes(fit_continuations(row), int(SHIFTS[index])) for index, row in enumerate(rows)])


def _bits_of_magnitudes(continuations: NDArray[np.uint8], shift: int) -> NDArray[np.float64]:
    if not len(continuations):
        return np.zeros(LARGEST_MAGNITUDE + 1)
    halves = half_frequencies(continuations).astype(np.float64)
    # An escape that no counted integer needs may still be needed after the next change.
    bits = np.log2(2 * _HALVES / np.maximum(halves, 0.5)) + shift
    if not shift:
        bits[0] -= 1
    bits[-1] += _BITS_OF_EXCESS
    levels = np.minimum(np.arange(LARGEST_MAGNITUDE + 1) >> shift, len(halves) - 1)
    of_magnitudes: NDArray[np.float64] = bits[levels]
    return of_magnitudes
