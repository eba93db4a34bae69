"""Steps from the curvature of the outputs: every weight causes the same expected error, after error feedback.

This is reverse water-filling: the bits that are saved by a coarser step where the outputs hardly change pay for finer
steps where they change most (WaterSIC; Gray and Neuhoff, 1998). The step of a weight is in proportion to the inverse
root of the curvature of its output, times the variance of its input that later weights cannot make up for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.curvature.input_moments import LARGEST_BLOCK
from nern_core.representations.quantized.curvature.layer_curvature import LayerCurvature
from nern_core.representations.quantized.error_feedback import FeedbackBlock, feedback_block, round_with_feedback
from nern_core.representations.quantized.kernel_frequencies import moments_of_frequencies
from nern_core.representations.quantized.layer_shape import shape_of
from nern_core.representations.quantized.relative_steps import SMALLEST_SIZE
from nern_core.representations.quantized.scaled_layer import ScaledLayer, basis_values
from nern_core.representations.quantized.step_tables import StepTables
from nern_core.tensors.norms import root_mean_square

# Octaves of a step, around that of the layer's median filter.
_LARGEST_DEVIATION = 6.0
# Bits for coding an entry of a table.
_BITS_OF_AN_ENTRY = 3.0
_FEWEST_FILTERS = 16
_FEWEST_OUTPUTS = 4


@dataclass(frozen=True, slots=True)
class CurvedLayer:
    """A layer with its curvature, in the basis that it is quantized in.

    `kernels` (F, C, P) are its weights, and `deviation` is their root mean square; `tables` are steps for which an
    error of one squared step costs the same for all weights of all layers. Without `blocks`, there is no feedback. A
    sample has one of `every` few filters.
    """

    layer: KernelLayer
    kernels: Tensor
    deviation: float
    blocks: tuple[FeedbackBlock, ...]
    tables: StepTables
    inputs_first: bool
    is_transformed: bool
    every: int = 1

    def scaled(self, tables: StepTables) -> ScaledLayer:
        """Return the weights in numbers of steps, after error feedback."""
        values = basis_values(self.kernels, self.layer, is_transformed=self.is_transformed)
        filters, rest = tables.centred_steps()
        outputs, inputs = (rest, filters) if self.inputs_first else (filters, rest)
        matrix = values.reshape(len(values), -1)
        scaled = ((matrix.T if self.inputs_first else matrix) / outputs[:, None]).float().numpy()
        of_inputs = inputs.float().numpy()
        rounded = torch.from_numpy(
            round_with_feedback(scaled, of_inputs, self.blocks) if self.blocks else scaled / of_inputs
        )
        latents = (rounded.T if self.inputs_first else rounded).reshape(values.shape).contiguous()
        return ScaledLayer(self.layer, latents, tables, self.is_transformed)

    def enlarged(self, octaves: float) -> StepTables:
        """Return the steps times 2^octaves, but no finer than useful."""
        finest = math.log2(self.deviation * SMALLEST_SIZE) - self.tables.level if self.deviation else octaves
        return self.tables.enlarged(max(octaves, finest))

    def with_relative_step(self, octaves: float) -> "CurvedLayer":
        """Return the layer with steps in this proportion to its weights."""
        return replace(
            self, tables=self.tables.enlarged(math.log2(self.deviation or 1.0) + octaves - self.tables.level)
        )

    def sample(self, share: float) -> "CurvedLayer":
        """Return about this share of the filters, evenly spaced, and at least a few; a part has no error feedback."""
        every = max(1, min(int(1 / share), len(self.kernels) // _FEWEST_FILTERS))
        if every == 1:
            return self
        tables = replace(self.tables, filters=self.tables.filters[::every])
        return replace(self, kernels=self.kernels[::every], tables=tables, blocks=(), every=every)


def feedback_blocks(curvature: LayerCurvature, transformed: Sequence[int] | None) -> tuple[FeedbackBlock, ...]:
    """Factorize the moments of a layer's inputs; `transformed` is the shape of kernels that become frequencies."""
    moments = curvature.moments
    if transformed is not None and not curvature.inputs_first:
        moments = tuple(moments_of_frequencies(block, transformed) for block in moments)
    return tuple(feedback_block(block) for block in moments)


def curved_layer(
    layer: KernelLayer,
    tensor: Tensor,
    curvature: LayerCurvature,
    blocks: tuple[FeedbackBlock, ...],
    *,
    is_transformed: bool,
) -> CurvedLayer:
    """Prepare a layer with its factorized moments."""
    kernels = tensor.detach().cpu().reshape(shape_of(layer).dimensions)
    variances = torch.from_numpy(np.concatenate([block.variances() for block in blocks], axis=1)).mean(dim=0)
    tables = _tables(shape_of(layer).dimensions, variances, curvature)
    deviation = float(root_mean_square(kernels))
    # Feedback takes as long for one output as for thousands; with many inputs of few outputs, it is not worth that.
    has_feedback = len(curvature.outputs) >= _FEWEST_OUTPUTS or curvature.inputs <= LARGEST_BLOCK
    used = blocks if has_feedback else ()
    return CurvedLayer(layer, kernels, deviation, used, tables, curvature.inputs_first, is_transformed)


def _tables(shape: tuple[int, int, int], variances: Tensor, curvature: LayerCurvature) -> StepTables:
    """Return steps of filters, channels and positions; a table that saves less than it takes has equal entries."""
    outputs, inputs = _octaves(curvature.outputs), _octaves(variances)
    filters, grid = (inputs, outputs) if curvature.inputs_first else (outputs, inputs)
    grid = grid.view(shape[1:])
    level = grid.mean()
    weights = shape[0] * shape[1] * shape[2]
    channels, positions = (
        _if_worth_it(table, weights) for table in (grid.mean(dim=1) - level, grid.mean(dim=0) - level)
    )
    return StepTables(_if_worth_it(filters, weights) + level, channels, positions)


def _if_worth_it(table: Tensor, weights: int) -> Tensor:
    """Return the table of a layer with this number of weights, or equal entries if it saves fewer bits than it takes.

    For the same expected error, equal steps are the root mean square of different ones; the bits of a weight grow with
    the logarithm of its step.
    """
    saved = weights * ((-2 * (table - table.mean())).exp2().mean().log2() / 2)
    return table if saved > _BITS_OF_AN_ENTRY * len(table) else torch.full_like(table, float(table.mean()))


def _octaves(curvature: Tensor) -> Tensor:
    """Return the logarithms of steps for curvatures (n,); extremes are moved towards the median.

    Where inputs have not reached the outputs, so that the curvature is 0, it is taken for the median.
    """
    reached = curvature[curvature > 0]
    if not len(reached):
        return torch.zeros_like(curvature)
    median = reached.median()
    relative = torch.where(curvature > 0, curvature / median, 1.0).clamp(min=2.0**-200).log2() / -2
    return relative.clamp(-_LARGEST_DEVIATION, _LARGEST_DEVIATION) - median.log2() / 2
