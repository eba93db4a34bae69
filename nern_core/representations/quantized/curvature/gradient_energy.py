"""The energy of gradients: how much the outputs depend on the rows and columns of each layer."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from nern_core.networks.failed_batches import failures_named
from nern_core.networks.model_inputs import ModelInputs
from nern_core.tensors.kernels import KernelLayer
from nern_core.training.student import Student


@dataclass(frozen=True, slots=True)
class GradientEnergy:
    """Sums of squared derivatives of the outputs by the weights: float64 `rows` (F,) and `columns` (inputs,)."""

    rows: Tensor
    columns: Tensor


def gradient_energies(
    student: Student,
    layers: Sequence[KernelLayer],
    weights: Mapping[str, Tensor],
    batches: Iterable[ModelInputs],
    generator: torch.Generator,
) -> dict[str, GradientEnergy]:
    """Estimate the squared derivatives of all outputs by the weights, summed over outputs and inputs.

    For each batch, the outputs are added up with random signs: the squared derivative of this sum is an unbiased
    estimate of the sum of the squared derivatives (Hutchinson).

    Raises `NernError` (`bad_data`) for a user's own network that cannot be differentiated.
    """
    leaves = {layer.name: weights[layer.name].detach().clone().requires_grad_() for layer in layers}
    energies = {
        layer.name: GradientEnergy(
            torch.zeros(layer.filters, dtype=torch.float64), torch.zeros(layer.inputs, dtype=torch.float64)
        )
        for layer in layers
    }
    for inputs in batches:
        outputs = student.logits(leaves, inputs)
        if not outputs.requires_grad:
            # They depend on no weight, such as the class numbers of an argmax.
            continue
        signs = torch.randint(2, outputs.shape, generator=generator).to(outputs.device) * 2 - 1
        total = (outputs * signs).sum()
        with failures_named(inputs, student.batches, is_training=True) if student.batches else nullcontext():
            gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        for layer, gradient in zip(layers, gradients, strict=True):
            if gradient is not None:
                squared = gradient.double().square().reshape(layer.filters, layer.inputs).cpu()
                energies[layer.name].rows.add_(squared.sum(dim=1))
                energies[layer.name].columns.add_(squared.sum(dim=0))
    return energies
