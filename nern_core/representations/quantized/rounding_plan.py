"""Steps for all layers at every size, and the weights rounded to them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from torch import Tensor

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.curvature.layer_curvature import LayerCurvature
from nern_core.representations.quantized.curvature.measure import Curvature
from nern_core.representations.quantized.curvature_steps import CurvedLayer, curved_layer, feedback_blocks
from nern_core.representations.quantized.kernel_frequencies import gains_from_frequencies
from nern_core.representations.quantized.rate import bits_by_layer
from nern_core.representations.quantized.relative_steps import (
    LARGEST_SIZE,
    SMALLEST_SIZE,
    RelativeSteps,
    relative_steps,
)
from nern_core.representations.quantized.scaled_layer import ScaledLayer
from nern_core.representations.quantized.step_tables import StepTables
from nern_core.representations.quantized.typical_inputs import typical_blocks, typical_curvature
from nern_core.representations.quantized.vector_rounding import EXTRA_BITS_OF_FINE, byte_steps, largest_magnitudes

# Weights that estimates of bits are made from.
_SAMPLED_WEIGHTS: Final = 2**18
_MOST_TRIES = 16
_NEAR_ENOUGH = 0.002
# In octaves.
_SMALLEST_CHANGE = 0.003


@dataclass(frozen=True, slots=True)
class Rounding:
    """The weights of all layers in numbers of steps, and the names of the vectors that need more than 8 bits."""

    layers: Iterable[ScaledLayer]
    fine_vectors: frozenset[str]


@dataclass(frozen=True, slots=True)
class RoundingPlan:
    """Layers with their curvature and steps; `unmeasured` are those whose steps follow from their norms.

    The size of all steps is one number, `octaves`: steps double from one to the next. `sizes_of_fine` are the sizes
    below which vectors need more than 8 bits.
    """

    layers: tuple[CurvedLayer, ...]
    unmeasured: RelativeSteps | None = None
    sizes_of_fine: Mapping[str, float] = field(default_factory=dict)

    @property
    def weights(self) -> int:
        """Return the number of weights of all layers."""
        return sum(curved.kernels.numel() for curved in self.layers)

    def limits(self, largest: float = LARGEST_SIZE) -> tuple[float, float]:
        """Return the smallest useful size in octaves, and the one with steps of `largest` deviations of the weights."""
        if self.unmeasured is not None:
            return math.log2(SMALLEST_SIZE), math.log2(largest)
        deviations = [(curved.deviation, curved.tables.level) for curved in self.layers]
        # A layer of zeros is one at every size.
        levels = [math.log2(deviation) - level for deviation, level in deviations if deviation] or [0.0]
        return min(levels) + math.log2(SMALLEST_SIZE), max(levels) + math.log2(largest)

    def tables(self, octaves: float) -> list[StepTables]:
        """Return the steps of each layer at a size."""
        if self.unmeasured is None:
            return [curved.enlarged(octaves) for curved in self.layers]
        return [
            StepTables(steps.log2(), curved.tables.channels, curved.tables.positions)
            for curved, steps in zip(self.layers, self.unmeasured.at(2.0**octaves), strict=True)
        ]

    def scaled(self, octaves: float) -> Iterator[ScaledLayer]:
        """Yield the weights of each layer in numbers of steps at a size, after error feedback."""
        for curved, tables in zip(self.layers, self.tables(octaves), strict=True):
            yield curved.scaled(tables)

    def rounding(self, octaves: float) -> Rounding:
        """Return the rounding of layers and vectors at a size; its layers can be read once."""
        return Rounding(self.scaled(octaves), self.fine_vectors(octaves))

    def fine_vectors(self, octaves: float) -> frozenset[str]:
        """Return the names of the vectors that need more than 8 bits at a size."""
        return frozenset(name for name, size in self.sizes_of_fine.items() if octaves < size)

    def octaves_for(self, bits: float) -> float:
        """Return the size at which the integers take about these bits, estimated from a sample of filters."""
        low, high = self.limits()
        samples = [curved.sample(_SAMPLED_WEIGHTS / self.weights) for curved in self.layers]
        plan = RoundingPlan(tuple(samples), None if self.unmeasured is None else self._sampled_norms(samples))

        def bits_at(octaves: float) -> float:
            bits = bits_by_layer(of_layer.latents for of_layer in plan.scaled(octaves))
            return sum(of_layer * sample.every for sample, of_layer in zip(samples, bits, strict=True))

        at_low, at_high = bits_at(low), bits_at(high)
        if at_low <= bits or at_high >= bits:
            return low if at_low <= bits else high
        for number in range(_MOST_TRIES):
            share = 0.5 if number % 2 else (at_low - bits) / (at_low - at_high)
            middle = low + share * (high - low)
            value = bits_at(middle)
            if abs(value - bits) <= _NEAR_ENOUGH * bits or high - low <= _SMALLEST_CHANGE:
                return middle
            if value > bits:
                low, at_low = middle, value
            else:
                high, at_high = middle, value
        return high

    def _sampled_norms(self, samples: Sequence[CurvedLayer]) -> RelativeSteps:
        assert self.unmeasured is not None
        norms = self.unmeasured
        return RelativeSteps(
            tuple(steps[:: sample.every] for steps, sample in zip(norms.steps, samples, strict=True)),
            tuple(smallest[:: sample.every] for smallest, sample in zip(norms.smallest, samples, strict=True)),
            norms.sizes,
        )


def plan_rounding(
    layers: Sequence[KernelLayer], tensors: Mapping[str, Tensor], curvature: Curvature | None = None
) -> RoundingPlan:
    """Plan the rounding of layers by their measured curvature; without any, by their norms and typical inputs.

    If only some layers have a measured curvature, the others get steps in the same proportion to their weights.
    """
    if curvature is None or not curvature.layers:
        curved = tuple(_typical(layer, tensors[layer.name]) for layer in layers)
        return RoundingPlan(curved, relative_steps(layers, tensors))
    measured = {
        layer.name: _curved(layer, tensors[layer.name], curvature.layers[layer.name])
        for layer in layers
        if layer.name in curvature.layers
    }
    relative = [
        curved.tables.level - math.log2(curved.deviation) for curved in measured.values() if curved.deviation
    ] or [0.0]
    usual = sorted(relative)[len(relative) // 2]
    return RoundingPlan(
        tuple(
            measured[layer.name]
            if layer.name in measured
            else _typical(layer, tensors[layer.name]).with_relative_step(usual)
            for layer in layers
        ),
        sizes_of_fine={
            name: _size_of_fine(tensors[name], of_all) for name, of_all in curvature.vectors.items() if of_all
        },
    )


def _size_of_fine(vector: Tensor, curvature: float) -> float:
    """Return the size, in octaves, below which 8 bits for a vector cost more than the bits of 12 save elsewhere.

    An entry in 8 bits costs its `curvature`, a part of that of all entries together, times the square of its step. A
    weight costs 4^octaves, and its derivative is the price of a bit, if a bit per weight is an octave.
    """
    of_entry = curvature / vector.numel() / (EXTRA_BITS_OF_FINE * math.log(4))
    return float(byte_steps(largest_magnitudes([vector])).log2()) + math.log2(of_entry) / 2


def _curved(layer: KernelLayer, tensor: Tensor, curvature: LayerCurvature) -> CurvedLayer:
    is_transformed = gains_from_frequencies(layer, tensor)
    blocks = feedback_blocks(curvature, layer.kernel_shape if is_transformed else None)
    return curved_layer(layer, tensor, curvature, blocks, is_transformed=is_transformed)


def _typical(layer: KernelLayer, tensor: Tensor) -> CurvedLayer:
    is_transformed = gains_from_frequencies(layer, tensor)
    blocks = typical_blocks(layer, is_transformed=is_transformed)
    return curved_layer(layer, tensor, typical_curvature(layer), blocks, is_transformed=is_transformed)
