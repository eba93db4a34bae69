"""Choose the initial steps of quantization, so that the weights take a given number of bits.

The relative sizes of the steps follow from the weights alone:

- The relative error of a layer passes through to the outputs, as far as is known without data. For a given number of
  bits, the sum of the squares of these errors is smallest if they are in proportion to the numbers of weights: bits
  for a small layer are cheap. With few bits, errors are more alike, so that no layer is lost.
- Within a layer, steps grow with the norms of the filters, if that saves more bits than coding the steps takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from nern_core.container.step_grid import SMALLEST_STEP
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.tensors.norms import root_mean_square

# Between equal steps for all filters (0) and steps in proportion to the norms of filters (1): measured on networks with
# and without normalization, see docs/decisions/0032.
_EXPONENT_OF_NORM: Final = 0.75
# Bits for coding the step of a filter.
_BITS_OF_A_STEP: Final = 2.5
# In deviations: finer steps do not change a network's outputs; with coarser ones nothing of a layer is left.
SMALLEST_SIZE: Final = 1 / 150
LARGEST_SIZE: Final = 10.0
# For the largest layer: here errors grow with the fourth root of the number of weights, not the square root.
_SIZE_OF_HALF_AN_EXPONENT = 1.5
# Smaller relative norms of filters, as a part of the root mean square of all, are clamped to this.
_SMALLEST_RELATIVE_NORM = 1e-3
_SMALLEST_DEVIATION = 128 * SMALLEST_STEP


@dataclass(frozen=True, slots=True)
class RelativeSteps:
    """Steps of all filters for every rate, selected by one number: the steps per deviation of the largest layer.

    `steps` float64 (F,) of each layer are those of one step per deviation; `smallest` float64 (F,) are the smallest
    useful ones; `sizes` are the numbers of weights relative to the largest layer.
    """

    steps: tuple[Tensor, ...]
    smallest: tuple[Tensor, ...]
    sizes: tuple[float, ...]

    def at(self, size: float) -> list[Tensor]:
        """Return steps, float64 (F,) each, with which those of the largest layer are `size` deviations."""
        # Relative errors cannot exceed 1: large steps are alike in all layers, otherwise the largest layer would be
        # lost.
        exponent = 0.5 / (1 + (size / _SIZE_OF_HALF_AN_EXPONENT) ** 2)
        return [
            torch.maximum(steps * (size * part**exponent), smallest)
            for steps, smallest, part in zip(self.steps, self.smallest, self.sizes, strict=True)
        ]


def relative_steps(layers: Sequence[KernelLayer], tensors: Mapping[str, Tensor]) -> RelativeSteps:
    """Compare the filters of these layers: return the steps of each, relative to all others."""
    largest = max(layer.weights for layer in layers)
    steps, smallest = [], []
    for layer in layers:
        norms = filter_norms(tensors[layer.name], layer)
        deviation = root_mean_square(norms).clamp(min=_SMALLEST_DEVIATION)
        steps.append(deviation * _shape_of_steps(norms / deviation, layer.inputs))
        smallest.append((norms * SMALLEST_SIZE).clamp(min=SMALLEST_STEP))
    return RelativeSteps(tuple(steps), tuple(smallest), tuple(layer.weights / largest for layer in layers))


def filter_norms(tensor: Tensor, layer: KernelLayer) -> Tensor:
    """Return the root mean square of each filter's weights, float64 (F,), without overflow for weights of any size."""
    return root_mean_square(tensor.detach().reshape(layer.filters, layer.inputs), dim=1)


def _shape_of_steps(norms: Tensor, inputs: int) -> Tensor:
    """Return relative steps of a layer's filters from their norms; both have a root mean square of 1."""
    shape = norms.clamp(min=_SMALLEST_RELATIVE_NORM) ** _EXPONENT_OF_NORM
    mean_square = shape.square().mean()
    saved = 0.5 * (mean_square.log2() - shape.square().log2().mean()) * inputs
    return torch.ones_like(shape) if saved < _BITS_OF_A_STEP else shape / mean_square.sqrt()
