"""Where quantization starts: steps that give the wanted number of bits, and the integers next to the weights."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from nern_core.kernels import KernelLayer
from nern_core.quantized.grid import nearest_steps
from nern_core.rate_distortion.parameters import by_coordinates
from nern_core.rate_distortion.rate import RateModel

_FEWEST_STEPS_PER_DEVIATION, _MOST_STEPS_PER_DEVIATION = 0.1, 100.0
_MOST_TRIES = 16
_NEAR_ENOUGH = 0.002
_SMALLEST_DEVIATION = 1e-12


def starting_steps(layers: Sequence[KernelLayer], tensors: Mapping[str, Tensor], wanted_bits: float) -> list[Tensor]:
    """Steps (F,) of each layer with which the integers next to the weights take so many bits, or a few more.

    They are the same part of the standard deviation of each layer. The grid of steps leaves no other choice than a few
    bits more or fewer; more can be trimmed.
    """
    kernels = [by_coordinates(tensors[layer.name], layer) for layer in layers]
    deviations = [values.square().mean().sqrt().clamp(min=_SMALLEST_DEVIATION) for values in kernels]

    def bits(logarithm: float) -> float:
        steps = [nearest_steps(deviation[None] / math.exp(logarithm)) for deviation in deviations]
        latents = [values / float(step) for values, step in zip(kernels, steps, strict=True)]
        return float(RateModel([latent.round().to(torch.int32) for latent in latents]).bits_of_rounded(latents))

    few, many = math.log(_FEWEST_STEPS_PER_DEVIATION), math.log(_MOST_STEPS_PER_DEVIATION)
    steps_per_deviation = math.exp(_solve(bits, few, many, wanted_bits))
    return [
        (deviation / steps_per_deviation).expand(layer.filters)
        for deviation, layer in zip(deviations, layers, strict=True)
    ]


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
