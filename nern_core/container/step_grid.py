"""The grid of quantization steps: eight steps per octave, each identified by an integer exponent.

A weight is an integer times a step. Steps are computed from square roots and powers of two, which every machine rounds
in the same way, and the product is rounded once: decoded weights have the same bits everywhere.
"""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

STEPS_PER_OCTAVE: Final = 8
# Steps beyond 2 ** +-1000 are outside of the range of float64.
LARGEST_EXPONENT: Final = 8000
SMALLEST_STEP: Final = 2.0 ** (-LARGEST_EXPONENT // STEPS_PER_OCTAVE)
_ROOT = math.sqrt(math.sqrt(math.sqrt(2.0)))
_WITHIN_OCTAVE = [1.0]
for _ in range(STEPS_PER_OCTAVE - 1):
    _WITHIN_OCTAVE.append(_WITHIN_OCTAVE[-1] * _ROOT)


def step_of(exponent: int) -> float:
    """Return the step 2 ** (exponent / 8)."""
    octave, within = divmod(exponent, STEPS_PER_OCTAVE)
    return math.ldexp(_WITHIN_OCTAVE[within], octave)


def steps_of(exponents: Tensor) -> Tensor:
    """Return the steps of exponents int32 (n,): float64 (n,)."""
    octaves, within = np.divmod(exponents.numpy(), STEPS_PER_OCTAVE)
    return torch.from_numpy(np.ldexp(np.array(_WITHIN_OCTAVE)[within], octaves))


def exponents_of(steps: Tensor) -> Tensor:
    """Return the exponents of the nearest steps of the grid, for positive numbers (n,): int32 (n,)."""
    return exponents_of_logarithms(steps.double().log2())


def exponents_of_logarithms(log_steps: Tensor) -> Tensor:
    """Return the exponents of the nearest steps of the grid, int32, for logarithms of steps in octaves.

    Only this function rounds steps, so that all parts of the program use the same ones.
    """
    return (log_steps * STEPS_PER_OCTAVE).round().clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT).to(torch.int32)


def nearest_steps(steps: Tensor) -> Tensor:
    """Round positive numbers (n,) on the CPU to the nearest steps of the grid: float64 (n,)."""
    return steps_of(exponents_of(steps))
