"""A rate model for training: the bits of real numbers, with gradients."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from nern_core.codec.layers import CLASSES
from nern_core.representations.quantized.class_bits import LARGEST_MAGNITUDE, count_levels, fitted_bits
from nern_core.representations.quantized.coordinate_scales import fit_scales
from nern_core.training.snapshots import State

# Small layers are counted together, because each operation has a fixed overhead; large ones would need much memory.
_VALUES_PER_GROUP = 2**20


class RateModel:
    """The bits of every integer under distributions fitted to the current integers of all layers.

    Fitting is cheap, but not free: call `fit` from time to time; the distributions stay fixed in between.
    """

    def __init__(self, integers: Sequence[Tensor]) -> None:
        """`integers` and all later arguments must be on one device."""
        device = integers[0].device
        self._groups = _grouped([values.numel() for values in integers])
        self._classes = [torch.empty_like(values, dtype=torch.int64) for values in self._flat(integers)]
        self._bits, self._exact_bits = torch.empty(2, CLASSES, LARGEST_MAGNITUDE + 1, device=device)
        self.fit(integers)

    def state(self) -> State:
        """Return the current distributions and the class of each integer."""
        return {
            "bits": self._bits,
            "exact_bits": self._exact_bits,
            "classes": [classes.to(torch.int16) for classes in self._classes],
        }

    def restore(self, state: State) -> None:
        """Restore the distributions of a state."""
        self._bits.copy_(state["bits"])
        self._exact_bits.copy_(state["exact_bits"])
        for memory, classes in zip(self._classes, state["classes"], strict=True):
            memory.copy_(classes)

    def fit(self, integers: Sequence[Tensor]) -> None:
        """Refit scales and distributions to integers (F, C, P) of each layer, in place."""
        classes = [fit_scales(values).classes() for values in integers]
        counts = [
            count_levels(values.flatten(), members.flatten()) for values, members in zip(integers, classes, strict=True)
        ]
        bits = fitted_bits(torch.stack(counts).sum(dim=0))
        self._exact_bits.copy_(torch.from_numpy(bits))
        # Bits never decrease with the magnitude, so that the rate pulls towards zero everywhere.
        self._bits.copy_(torch.from_numpy(np.maximum.accumulate(bits, axis=1)))
        for memory, members in zip(self._classes, self._flat(classes), strict=True):
            memory.copy_(members)

    def bits(self, latents: Sequence[Tensor]) -> Tensor:
        """Interpolate the bits of real numbers (F, C, P) of each layer between adjacent integers. Differentiable."""
        total = []
        for values, classes in zip(self._flat(latents), self._classes, strict=True):
            magnitude = values.abs().clamp(max=LARGEST_MAGNITUDE - 1e-3)
            below = magnitude.detach().floor()
            index = below.long()
            low, high = self._bits[classes, index], self._bits[classes, index + 1]
            total.append((low + (high - low) * (magnitude - below)).sum())
        return torch.stack(total).sum()

    def bits_between(self, integers: Sequence[Tensor]) -> Tensor:
        """Return the bits that each integer (F, C, P) of each layer saves by moving one towards zero, (n,)."""
        bits = []
        for values, classes in zip(self._flat(integers), self._classes, strict=True):
            magnitude = values.abs().clamp(max=LARGEST_MAGNITUDE).long()
            bits.append(self._bits[classes, magnitude] - self._bits[classes, (magnitude - 1).clamp(min=0)])
        return torch.cat(bits)

    @torch.no_grad()
    def bits_of_rounded(self, latents: Sequence[Tensor]) -> Tensor:
        """Return the bits of real numbers (F, C, P) of each layer after rounding, a float64 scalar on their device."""
        bits = [
            self._exact_bits[classes, values.abs().round().clamp(max=LARGEST_MAGNITUDE).long()].sum(dtype=torch.float64)
            for values, classes in zip(self._flat(latents), self._classes, strict=True)
        ]
        return torch.stack(bits).sum()

    def _flat(self, of_layers: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield one value per integer, (n,), group by group."""
        for group in self._groups:
            yield torch.cat([of_layers[index].flatten() for index in group])


def _grouped(sizes: Sequence[int]) -> list[list[int]]:
    """Group the indices of the layers into groups of about `_VALUES_PER_GROUP` values."""
    groups: list[list[int]] = []
    room = 0
    for index, size in enumerate(sizes):
        if size > room:
            groups.append([])
            room = _VALUES_PER_GROUP
        groups[-1].append(index)
        room -= size
    return groups


def bits_by_layer(latents: Iterable[Tensor]) -> list[float]:
    """Return the bits of numbers (F, C, P) of each layer after rounding, under distributions fitted to all of them."""
    integers = [latent.round().to(torch.int32) for latent in latents]
    classes = [fit_scales(values).classes() for values in integers]
    pairs = list(zip(integers, classes, strict=True))
    counts = [count_levels(values.flatten(), members.flatten()) for values, members in pairs]
    bits = torch.from_numpy(fitted_bits(torch.stack(counts).sum(dim=0)))
    return [
        float(bits[members.long(), values.abs().clamp(max=LARGEST_MAGNITUDE).long()].sum()) for values, members in pairs
    ]


def bits_of(latents: Iterable[Tensor]) -> float:
    """Return the bits of numbers (F, C, P) of all layers after rounding, under distributions fitted to them."""
    return sum(bits_by_layer(latents))
