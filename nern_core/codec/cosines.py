"""The orthonormal cosine basis (DCT-II) of kernel axes, in float32 that has the same bits everywhere.

The libraries of two machines may differ in the last bit of a cosine. So the entries are computed here with 60 decimal
digits and rounded once.
"""

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

# A basis takes the square of this in float32.
LONGEST_SIDE: Final = 512
_DIGITS = 60
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230782")
_SIGNIFICANT_BITS = 24


@lru_cache(maxsize=64)
def cosine_basis(side: int) -> NDArray[np.float32]:
    """Return the basis of an axis, (side, side): row k is the k-th cosine, and the rows are orthonormal."""
    if not 1 <= side <= LONGEST_SIDE:
        raise ValueError(f"a transformed axis has 1 to {LONGEST_SIDE} values, not {side}")
    with localcontext(Context(prec=_DIGITS)):
        constant = _float32((1 / Decimal(side)).sqrt())
        amplitude = (2 / Decimal(side)).sqrt()
        # The angles are multiples of pi / (2 * side).
        values = [_float32(amplitude * _cosine(_PI * turn / (2 * side))) for turn in range(4 * side)]
    frequencies, places = np.mgrid[:side, :side]
    basis: NDArray[np.float32] = np.array(values, np.float32)[(2 * places + 1) * frequencies % (4 * side)]
    basis[0] = constant
    basis.flags.writeable = False
    return basis


def _cosine(angle: Decimal) -> Decimal:
    """Return the cosine of an angle in [0, 2 pi) by its power series."""
    square = angle * angle
    total = term = Decimal(1)
    index = 0
    while abs(term) > Decimal(10) ** -_DIGITS:
        index += 2
        term *= -square / (index * (index - 1))
        total += term
    return total


def _float32(value: Decimal) -> float:
    """Round to the nearest number of float32; the digits left of a cosine of zero become 0."""
    if abs(value) < Decimal(10) ** -(_DIGITS // 2):
        return 0.0
    exponent = math.frexp(float(value))[1] - _SIGNIFICANT_BITS
    significand = (value * Decimal(2) ** -exponent).to_integral_value(ROUND_HALF_EVEN)
    return math.ldexp(int(significand), exponent)
