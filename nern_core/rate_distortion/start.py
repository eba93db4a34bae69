"""Where quantization starts: steps that give the wanted number of bits, and the integers next to the weights.

How large the steps are relative to each other follows from the weights alone:

- The error of a layer relative to its weights passes through to the outputs, as far as anybody can know without data.
  The sum of the squares of these errors is smallest, for a number of bits, if they are in proportion to the numbers of
  weights: bits spent on a small layer are cheap.
- Within a layer, steps grow with the norms of the filters, where that saves more bits than telling the steps takes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nern_core.kernels import KernelLayer
from nern_core.norms import root_mean_square
from nern_core.quantized.grid import SMALLEST_STEP, nearest_steps
from nern_core.rate_distortion.parameters import numbers_of_steps
from nern_core.rate_distortion.rate import RateModel

# Between equal steps for all filters (0) and steps in proportion to the norms of filters (1): measured on networks
# with and without normalization, see docs/decisions/0030.
_EXPONENT_OF_NORM: Final = 0.75
# What it takes to tell the step of a filter.
_BITS_OF_A_STEP: Final = 2.5
# Finer steps than this change no decision of a network, coarser ones leave nothing of a layer.
_MOST_STEPS_PER_DEVIATION, _FEWEST_STEPS_PER_DEVIATION = 150.0, 0.1
# Filters of smaller norms, relative to the root mean square of all, are taken for as large as this.
_SMALLEST_RELATIVE_NORM = 1e-3
_SMALLEST_DEVIATION = 128 * SMALLEST_STEP
_MOST_TRIES = 16
_NEAR_ENOUGH = 0.002


@dataclass(frozen=True, slots=True)
class RelativeSteps:
    """Steps of each filter, float64 (F,) for each layer, up to one common factor, and the smallest that make sense.

    `lowest` and `highest` are logarithms (base e) of factors between which all rates lie.
    """

    steps: tuple[Tensor, ...]
    smallest: tuple[Tensor, ...]
    lowest: float
    highest: float

    def times(self, logarithm: float) -> list[Tensor]:
        """The steps with the factor e^`logarithm`, on the grid: float64 (F,) for each layer."""
        factor = math.exp(logarithm)
        return [
            nearest_steps(torch.maximum(steps * factor, smallest))
            for steps, smallest in zip(self.steps, self.smallest, strict=True)
        ]


def relative_steps(layers: Sequence[KernelLayer], tensors: Mapping[str, Tensor]) -> RelativeSteps:
    """How large the steps of the filters of these layers are relative to each other."""
    largest = max(layer.weights for layer in layers)
    steps, smallest = [], []
    for layer in layers:
        norms = filter_norms(tensors[layer.name], layer)
        deviation = root_mean_square(norms).clamp(min=_SMALLEST_DEVIATION)
        shape = _shape_of_steps(norms / deviation, layer.inputs)
        steps.append(deviation * math.sqrt(layer.weights / largest) * shape)
        smallest.append((norms / _MOST_STEPS_PER_DEVIATION).clamp(min=SMALLEST_STEP))
    fewest = min(layer.weights for layer in layers)
    highest = math.log(math.sqrt(largest / fewest) / _FEWEST_STEPS_PER_DEVIATION)
    return RelativeSteps(tuple(steps), tuple(smallest), -math.log(_MOST_STEPS_PER_DEVIATION), highest)


def filter_norms(tensor: Tensor, layer: KernelLayer) -> Tensor:
    """Root mean square of the weights of each filter, float64 (F,), without overflow whatever their size."""
    return root_mean_square(tensor.detach().reshape(layer.filters, layer.inputs), dim=1)


def starting_steps(layers: Sequence[KernelLayer], tensors: Mapping[str, Tensor], wanted_bits: float) -> list[Tensor]:
    """Steps (F,) of each layer with which the integers next to the weights take so many bits, or a few more."""
    relative = relative_steps(layers, tensors)

    def bits(logarithm: float) -> float:
        latents = [
            numbers_of_steps(tensors[layer.name], layer, steps)
            for layer, steps in zip(layers, relative.times(-logarithm), strict=True)
        ]
        return float(RateModel([latent.round().to(torch.int32) for latent in latents]).bits_of_rounded(latents))

    return relative.times(-_solve(bits, -relative.highest, -relative.lowest, wanted_bits))


def _shape_of_steps(norms: Tensor, inputs: int) -> Tensor:
    """Steps of the filters of a layer with these norms, whose root mean square is 1; so is that of the steps."""
    shape = norms.clamp(min=_SMALLEST_RELATIVE_NORM) ** _EXPONENT_OF_NORM
    mean_square = shape.square().mean()
    saved = 0.5 * (mean_square.log2() - shape.square().log2().mean()) * inputs
    return torch.ones_like(shape) if saved < _BITS_OF_A_STEP else shape / mean_square.sqrt()


def _solve(rising: Callable[[float], float], low: float, high: float, wanted: float) -> float:
    """Find where a rising function with jumps reaches a value, between two points: false position, every other halved.

    Its value there is the wanted one, or nearly, or the next one above that it has. The nearer end of the range if the
    value lies outside of it.
    """
    at_low, at_high = rising(low), rising(high)
    if at_low >= wanted or at_high <= wanted:
        return low if at_low >= wanted else high
    for number in range(_MOST_TRIES):
        if high - low <= _NEAR_ENOUGH or at_high - wanted <= _NEAR_ENOUGH * wanted:
            break
        share = 0.5 if number % 2 else (wanted - at_low) / (at_high - at_low)
        middle = low + share * (high - low)
        value = rising(middle)
        if value < wanted:
            low, at_low = middle, value
        else:
            high, at_high = middle, value
    return high
