"""Where quantization starts: steps that give the wanted number of bits, and the integers next to the weights."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nern_core.kernels import KernelLayer, cut
from nern_core.rate_distortion.rate import RateModel

_FEWEST_STEPS_PER_DEVIATION, _MOST_STEPS_PER_DEVIATION = 0.1, 100.0
_HALVINGS = 16
_SMALLEST_DEVIATION = 1e-12


def starting_steps(layers: Sequence[KernelLayer], tensors: Mapping[str, Tensor], wanted_bits: float) -> list[Tensor]:
    """Steps (F,) of each layer with which the integers next to the weights take so many bits, or nearly.

    They are the same part of the standard deviation of each layer.
    """
    kernels = [by_coordinates(tensors[layer.name], layer) for layer in layers]
    deviations = [
        values.square().mean().sqrt().clamp(min=_SMALLEST_DEVIATION).expand(len(values)) for values in kernels
    ]
    few, many = math.log(_FEWEST_STEPS_PER_DEVIATION), math.log(_MOST_STEPS_PER_DEVIATION)
    for _ in range(_HALVINGS):
        middle = (few + many) / 2
        if _bits(kernels, deviations, math.exp(middle)) > wanted_bits:
            many = middle
        else:
            few = middle
    return [deviation / math.exp(few) for deviation in deviations]


def by_coordinates(tensor: Tensor, layer: KernelLayer) -> Tensor:
    """The kernels of a layer, float32 (F, C, P)."""
    return cut(tensor, layer).view(layer.filters, layer.channels, layer.kernel_values)


def _bits(kernels: Sequence[Tensor], deviations: Sequence[Tensor], steps_per_deviation: float) -> float:
    latents = [
        values * (steps_per_deviation / deviation)[:, None, None]
        for values, deviation in zip(kernels, deviations, strict=True)
    ]
    model = RateModel([latent.round().to(torch.int32) for latent in latents])
    return model.bits_of_rounded(latents)
