"""The grid that steps lie on: eight to an octave, told by an integer exponent.

A weight is an integer times a step. Steps are made of square roots and powers of two, which every machine rounds
alike, and the product has one rounding: decoded weights are the same bits everywhere.
"""

import math
from typing import Final

import torch
from torch import Tensor

STEPS_PER_OCTAVE: Final = 8
# Steps beyond 2 ** +-1000 are no float64.
LARGEST_EXPONENT: Final = 8000
_ROOT = math.sqrt(math.sqrt(math.sqrt(2.0)))
_WITHIN_OCTAVE = [1.0]
for _ in range(STEPS_PER_OCTAVE - 1):
    _WITHIN_OCTAVE.append(_WITHIN_OCTAVE[-1] * _ROOT)


def step_of(exponent: int) -> float:
    """The step 2 ** (exponent / 8)."""
    octave, within = divmod(exponent, STEPS_PER_OCTAVE)
    return math.ldexp(_WITHIN_OCTAVE[within], octave)


def steps_of(exponents: Tensor) -> Tensor:
    """The same for int32 (n,): float64 (n,)."""
    return torch.tensor([step_of(exponent) for exponent in exponents.tolist()], dtype=torch.float64)


def exponents_of(steps: Tensor) -> Tensor:
    """The exponents of the nearest steps of the grid, for positive numbers (n,): int32 (n,)."""
    return (steps.double().log2() * STEPS_PER_OCTAVE).round().to(torch.int32)
