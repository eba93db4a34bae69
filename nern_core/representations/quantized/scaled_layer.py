"""Weights of a layer in numbers of steps, not yet rounded."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.kernel_frequencies import frequencies_of
from nern_core.representations.quantized.layer_shape import shape_of
from nern_core.representations.quantized.step_tables import StepTables


@dataclass(frozen=True, slots=True)
class ScaledLayer:
    """The weights of a layer, or the frequencies of its kernels, in the steps of `tables`: `latents` (F, C, P)."""

    layer: KernelLayer
    latents: Tensor
    tables: StepTables
    is_transformed: bool


def values_of(tensor: Tensor, layer: KernelLayer, *, is_transformed: bool) -> Tensor:
    """Return the weights of a layer, or the frequencies of its kernels, float64 (F, C, P)."""
    return basis_values(tensor.detach().reshape(shape_of(layer).dimensions), layer, is_transformed=is_transformed)


def basis_values(kernels: Tensor, layer: KernelLayer, *, is_transformed: bool) -> Tensor:
    """Return kernels (F, C, P) of a layer, or their frequencies, in float64."""
    values = kernels.double()
    return frequencies_of(values, layer.kernel_shape) if is_transformed else values


def scaled_layer(tensor: Tensor, layer: KernelLayer, tables: StepTables, *, is_transformed: bool) -> ScaledLayer:
    """Divide weights by their steps, in float64, so that neither huge nor tiny weights leave its range."""
    latents = values_of(tensor, layer, is_transformed=is_transformed) / tables.steps()
    return ScaledLayer(layer, latents.to(torch.float32), tables, is_transformed)
