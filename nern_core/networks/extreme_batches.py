"""The batches whose values a network is most likely not to take."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from nern_core.networks.input_batch import InputBatch
from nern_core.networks.model_inputs import split

# No embedding has tokens of these types, whose extremes torch does not find.
_UNSIGNED: Final = {torch.uint16, torch.uint32, torch.uint64}
# Ordinary values need no trial.
_FAR_ABOVE: Final = 1000


def extreme_batches(batches: Sequence[InputBatch]) -> tuple[InputBatch, ...]:
    """Return the batches with the smallest and the largest integer, and one with numbers far above those of the first.

    Infinity is larger than all numbers, and NaN still larger. The first of several equal batches counts.
    """
    smallest: dict[int, int] = {}
    largest: dict[int, int] = {}
    magnitudes: dict[int, tuple[bool, float]] = {}
    for index, batch in enumerate(batches):
        tensors = [tensor for tensor in split(batch.inputs)[0] if tensor.numel()]
        integers = [of.aminmax() for of in tensors if _is_integer(of)]
        floats = [of.aminmax() for of in tensors if of.is_floating_point()]
        if integers:
            smallest[index] = min(int(low) for low, _ in integers)
            largest[index] = max(int(high) for _, high in integers)
        if floats:
            magnitudes[index] = max(_magnitude(low, high) for low, high in floats)
    found: list[int] = []
    if smallest:
        found += [min(smallest, key=smallest.__getitem__), max(largest, key=largest.__getitem__)]
    if magnitudes:
        most = max(magnitudes, key=magnitudes.__getitem__)
        (is_nan, magnitude), (is_first_nan, of_first) = magnitudes[most], magnitudes.get(0, (False, 0.0))
        if (is_nan and not is_first_nan) or magnitude > _FAR_ABOVE * of_first:
            found.append(most)
    return tuple(batches[index] for index in dict.fromkeys(found))


def _magnitude(low: Tensor, high: Tensor) -> tuple[bool, float]:
    """Return whether the extremes of a tensor are NaN, and the larger magnitude of the two."""
    is_nan = bool(low.isnan())
    return is_nan, 0.0 if is_nan else max(abs(float(low)), abs(float(high)))


def _is_integer(tensor: Tensor) -> bool:
    is_other = tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool
    return not is_other and tensor.dtype not in _UNSIGNED
