"""The energy of gradients: how much the outputs depend on the rows and columns of each layer."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.networks.failed_batches import failures_named
from nern_core.networks.model_inputs import ModelInputs
from nern_core.training.student import Student


@dataclass(frozen=True, slots=True)
class LayerEnergy:
    """Sums of squared derivatives of the outputs by the weights: float64 `rows` (F,) and `columns` (inputs,)."""

    rows: Tensor
    columns: Tensor


@dataclass(frozen=True, slots=True)
class GradientEnergy:
    """Squared derivatives of the outputs: by the weights of `layers`, and the sum for each of the `vectors`."""

    layers: dict[str, LayerEnergy]
    vectors: dict[str, float]


def gradient_energies(
    student: Student,
    layers: Sequence[KernelLayer],
    weights: Mapping[str, Tensor],
    vectors: Mapping[str, Tensor],
    batches: Iterable[ModelInputs],
    generator: torch.Generator,
) -> GradientEnergy:
    """Estimate the squared derivatives of all outputs by weights and vectors, summed over outputs and inputs.

    For each batch, the outputs are added up with random signs: the squared derivative of this sum is an unbiased
    estimate of the sum of the squared derivatives (Hutchinson).

    Raises `NernError` (`bad_data`) for a user's own network that cannot be differentiated.
    """
    variables = {**{layer.name: weights[layer.name] for layer in layers}, **vectors}
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in variables.items()}
    energy = GradientEnergy(
        {
            layer.name: LayerEnergy(
                torch.zeros(layer.filters, dtype=torch.float64), torch.zeros(layer.inputs, dtype=torch.float64)
            )
            for layer in layers
        },
        dict.fromkeys(vectors, 0.0),
    )
    for inputs in batches:
        outputs = student.logits(leaves, inputs)
        if not outputs.requires_grad:
            # They depend on no weight, such as the class numbers of an argmax.
            continue
        signs = torch.randint(2, outputs.shape, generator=generator).to(outputs.device) * 2 - 1
        total = (outputs * signs).sum()
        with failures_named(inputs, student.batches, is_training=True) if student.batches else nullcontext():
            gradients: Sequence[Tensor | None] = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        for name, gradient in zip(leaves, gradients, strict=True):
            if gradient is None:
                continue
            squared = gradient.double().square().cpu()
            if name in vectors:
                energy.vectors[name] += float(squared.sum())
            else:
                of_layer = energy.layers[name]
                of_weights = squared.reshape(len(of_layer.rows), len(of_layer.columns))
                of_layer.rows.add_(of_weights.sum(dim=1))
                of_layer.columns.add_(of_weights.sum(dim=0))
    return energy
