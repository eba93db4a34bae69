"""Measure the curvature of all layers of a network on some inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import torch
from torch import Tensor

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.networks.failed_batches import refuse_not_finite
from nern_core.networks.model_inputs import ModelInputs
from nern_core.representations.quantized.curvature.gradient_energy import LayerEnergy, gradient_energies
from nern_core.representations.quantized.curvature.input_moments import LARGEST_BLOCK, InputMoments, Moments
from nern_core.representations.quantized.curvature.layer_curvature import (
    LayerCurvature,
    block_sizes,
    diagonal_blocks,
    shrunk,
)
from nern_core.representations.quantized.layer_shape import shape_of
from nern_core.training.student import Student


@dataclass(frozen=True, slots=True)
class Curvature:
    """The squared error of the outputs that changes cause, in the same units for all.

    `layers` has the curvature of each layer; `vectors` has that of all entries of a vector together, for the same
    change of each.
    """

    layers: Mapping[str, LayerCurvature] = field(default_factory=dict)
    vectors: Mapping[str, float] = field(default_factory=dict)


def measure_curvature(
    student: Student,
    layers: Sequence[KernelLayer],
    weights: Mapping[str, Tensor],
    vectors: Mapping[str, Tensor],
    batches: Sequence[ModelInputs],
    generator: torch.Generator,
    draws: int | None = None,
) -> Curvature:
    """Return the curvature of layers and vectors, without layers that the outputs depend on not at all or too much.

    Gradients are estimated with random signs for each of `draws` batches; if the batches are fewer, they are repeated.
    `weights` are the tensors of the layers, float32, on the device of the batches. Raises
    `NernError` (`bad_data`) for batches of the user's own data whose outputs are not finite.
    """
    with torch.no_grad(), InputMoments(layers, weights) as moments:
        for inputs in batches:
            outputs = student.logits(weights, inputs)
            if student.batches:
                refuse_not_finite(outputs, inputs, student.batches)
    drawn = islice(cycle(batches), draws or len(batches))
    energy = gradient_energies(student, layers, weights, vectors, drawn, generator)
    measured = {
        layer.name: _curvature(layer, energy.layers[layer.name], moments.found.get(layer.name))
        for layer in layers
        if bool(energy.layers[layer.name].rows.sum() > 0)
    }
    return Curvature({name: curvature for name, curvature in measured.items() if curvature.is_finite}, energy.vectors)


def _curvature(layer: KernelLayer, energy: LayerEnergy, moments: Moments | None) -> LayerCurvature:
    if moments is None:
        # The squared derivative at a row and column is taken for the product of a part of each.
        sizes = block_sizes(layer.inputs, shape_of(layer).positions, LARGEST_BLOCK)
        columns = energy.columns / energy.columns.mean()
        return LayerCurvature(moments=diagonal_blocks(columns, sizes), outputs=energy.rows / layer.inputs)
    count = moments.count
    blocks = tuple(
        shrunk(block.cpu() / count, sums.cpu() / count, count)
        for block, sums in zip(moments.blocks, moments.sums, strict=True)
    )
    diagonals = torch.cat([block.diagonal(dim1=1, dim2=2) for block in blocks], dim=1).double()
    of_outputs = energy.columns if moments.inputs_first else energy.rows
    sums = diagonals.sum(dim=1).repeat_interleave(len(of_outputs) // len(diagonals))
    return LayerCurvature(
        moments=blocks,
        outputs=of_outputs / sums.clamp(min=torch.finfo(torch.float64).tiny),
        inputs_first=moments.inputs_first,
    )
