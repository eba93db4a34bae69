"""Vectors as 8-bit integers times one step each."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from nern_core.container.kept import RoundedTensor
from nern_core.container.step_grid import differentiable_steps, exponents_of, step_of

_LARGEST_BYTE = 127
_SMALLEST_STEP = 2.0**-40


@torch.no_grad()
def rounded_vectors(vectors: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype]) -> dict[str, RoundedTensor]:
    """Return vectors, float32, as stored in the file; they decode to their `dtypes`."""
    rounded = {}
    for (name, vector), exponent in zip(vectors.items(), byte_exponents(vectors.values()).tolist(), strict=True):
        integers = (vector / step_of(exponent)).round().to(torch.int8).cpu()
        rounded[name] = RoundedTensor(integers, exponent, dtypes[name])
    return rounded


@torch.no_grad()
def byte_exponents(vectors: Iterable[Tensor]) -> Tensor:
    """Return the smallest exponents with which 8-bit integers cover all values of each vector, int32 (vectors,)."""
    magnitudes = [torch.linalg.vector_norm(vector, torch.inf) for vector in vectors]
    if not magnitudes:
        return torch.empty(0, dtype=torch.int32)
    largest = torch.stack(magnitudes).double().clamp(min=_LARGEST_BYTE * _SMALLEST_STEP)
    exponents = exponents_of(largest / _LARGEST_BYTE)
    steps = differentiable_steps(exponents.double())
    return torch.where(largest / steps < _LARGEST_BYTE + 0.5, exponents, exponents + 1)
