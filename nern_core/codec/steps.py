"""The grid of quantization steps: eight steps per octave, each identified by an integer exponent.

A weight is an integer times a step. Steps are computed from square roots and powers of two, which every machine rounds
in the same way, and the product is rounded once: decoded weights have the same bits everywhere.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

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


def steps_of(exponents: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the steps of exponents, float64 in the same shape."""
    octaves, within = np.divmod(exponents, STEPS_PER_OCTAVE)
    steps: NDArray[np.float64] = np.ldexp(np.array(_WITHIN_OCTAVE)[within], octaves)
    return steps
