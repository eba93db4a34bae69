"""How many bits integers take, as training needs to know it: of real numbers, and with a gradient."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nern_core.codec.integers import LARGEST_MAGNITUDE, magnitude_bits
from nern_core.codec.quantized_layers import fit_distributions
from nern_core.quantized.coordinate_scales import fit_scales
from nern_core.snapshots import State


class RateModel:
    """The bits of every integer under the distributions that fit the present integers of all layers.

    Fitting is cheap, but not free: `fit` from time to time, between which the distributions stay as they are.
    """

    def __init__(self, integers: Sequence[Tensor]) -> None:
        """`integers` and what the bits are asked for later are on one device."""
        self._classes: list[Tensor] = []
        self._bits = torch.empty(0)
        self.fit(integers)

    def state(self) -> State:
        """The present distributions and the class of each integer."""
        return {"bits": self._bits, "classes": [classes.to(torch.int16) for classes in self._classes]}

    def restore(self, state: State) -> None:
        """Go on with the distributions of a state."""
        device = self._bits.device
        self._bits = state["bits"].to(device)
        self._classes = [classes.to(device).long() for classes in state["classes"]]

    def fit(self, integers: Sequence[Tensor]) -> None:
        """Fit scales and distributions anew to integers (F, C, P) of each layer."""
        counted = [values.cpu() for values in integers]
        classes = [fit_scales(values).classes() for values in counted]
        rows = [
            magnitude_bits(stops) if len(stops) else np.zeros(LARGEST_MAGNITUDE + 1)
            for stops in fit_distributions(counted, classes)
        ]
        # A larger integer never costs less, so that the rate pulls towards zero everywhere.
        self._bits = torch.from_numpy(np.maximum.accumulate(np.stack(rows), axis=1)).float().to(integers[0].device)
        self._classes = [members.to(values.device).long() for members, values in zip(classes, integers, strict=True)]

    def bits(self, latents: Sequence[Tensor]) -> Tensor:
        """Bits of real numbers (F, C, P) of each layer, between those of the integers next to them. Differentiable."""
        total = []
        for latent, classes in zip(latents, self._classes, strict=True):
            magnitude = latent.abs().clamp(max=LARGEST_MAGNITUDE - 1e-3)
            below = magnitude.detach().floor()
            index = below.long()
            low, high = self._bits[classes, index], self._bits[classes, index + 1]
            total.append((low + (high - low) * (magnitude - below)).sum())
        return torch.stack(total).sum()

    def bits_between(self, index: int, integers: Tensor) -> Tensor:
        """Bits that each integer (F, C, P) of the layer `index` takes more than the next one towards zero: flat."""
        magnitude = integers.abs().clamp(max=LARGEST_MAGNITUDE).long()
        classes = self._classes[index]
        return (self._bits[classes, magnitude] - self._bits[classes, (magnitude - 1).clamp(min=0)]).flatten()

    @torch.no_grad()
    def bits_of_rounded(self, latents: Sequence[Tensor]) -> float:
        """Bits of the integers next to real numbers (F, C, P) of each layer."""
        return sum(
            float(self._bits[classes, latent.abs().round().clamp(max=LARGEST_MAGNITUDE).long()].sum())
            for latent, classes in zip(latents, self._classes, strict=True)
        )
