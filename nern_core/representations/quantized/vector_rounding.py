"""Vectors rounded to 8 bits, or to 12 where 8 would change the outputs more than their bytes are worth elsewhere.

8 bits are integers times a step. 12 bits are floating-point numbers in multiples of a power of two: the low bytes of
their mantissas are zero, and compress to nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import torch
from torch import Tensor

from nern_core.container.kept import Kept, RoundedTensor
from nern_core.container.step_grid import approximate_steps, exponents_of, step_of

# In an entry of a vector, with compression.
EXTRA_BITS_OF_FINE: Final = 10.0
_LARGEST_BYTE = 127
_LARGEST_FINE = 2047
_SMALLEST_STEP = 2.0**-120


@torch.no_grad()
def rounded_vectors(
    vectors: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype], fine: frozenset[str]
) -> dict[str, Kept]:
    """Return vectors, float32, as stored in the file; they decode to their `dtypes`. Those in `fine` get 12 bits."""
    rounded: dict[str, Kept] = {}
    for name, vector in vectors.items():
        largest = largest_magnitudes([vector])
        if name in fine:
            step = float(_fine_steps(largest))
            rounded[name] = ((vector.double() / step).round() * step).to(dtypes[name]).cpu()
        else:
            exponent = int(_byte_exponents(largest))
            integers = (vector / step_of(exponent)).round().to(torch.int8).cpu()
            rounded[name] = RoundedTensor(integers, exponent, dtypes[name])
    return rounded


@torch.no_grad()
def vector_steps(vectors: Iterable[Tensor], fine: Tensor) -> Tensor:
    """Return the step of each vector, float64 (vectors,); `fine` bool (vectors,) selects those with 12 bits."""
    largest = largest_magnitudes(vectors)
    return torch.where(fine, _fine_steps(largest), byte_steps(largest))


@torch.no_grad()
def largest_magnitudes(vectors: Iterable[Tensor]) -> Tensor:
    """Return the largest magnitude of each vector, float64 (vectors,)."""
    magnitudes = [torch.linalg.vector_norm(vector, torch.inf) for vector in vectors]
    return torch.stack(magnitudes).double() if magnitudes else torch.empty(0, dtype=torch.float64)


def byte_steps(largest: Tensor) -> Tensor:
    """Return the steps of 8 bits for vectors with these largest magnitudes, both float64 (vectors,)."""
    return approximate_steps(_byte_exponents(largest).double())


def _byte_exponents(largest: Tensor) -> Tensor:
    """Return the smallest exponents with which 8-bit integers cover all values of each vector, int32 (vectors,)."""
    largest = largest.clamp(min=_LARGEST_BYTE * _SMALLEST_STEP)
    exponents = exponents_of(largest / _LARGEST_BYTE)
    steps = approximate_steps(exponents.double())
    return torch.where(largest / steps < _LARGEST_BYTE + 0.5, exponents, exponents + 1)


def _fine_steps(largest: Tensor) -> Tensor:
    return (largest.clamp(min=_LARGEST_FINE * _SMALLEST_STEP) / _LARGEST_FINE).log2().ceil().exp2()
