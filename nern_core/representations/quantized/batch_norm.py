"""Batch normalization folded: two numbers per channel instead of four.

In evaluation mode it is one factor and one summand per channel. They become the layer's weight and bias; its running
mean becomes 0 and its running variance 1, so that the checkpoint keeps its names and shapes.
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def fold_batch_norm(network: nn.Module) -> dict[str, Tensor]:
    """Fold all batch normalizations of a network that have weights; return their tensors by name."""
    folded = {}
    for prefix, module in network.named_modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm) or module.running_mean is None:  # noqa: SLF001 # the base class for all dimensions
            continue
        if not module.affine or module.running_var is None:
            continue
        deviation = (module.running_var.double() + module.eps).sqrt()
        factor = module.weight.double() / deviation
        summand = module.bias.double() - module.running_mean.double() * factor
        # The layer divides by the square root of 1 + eps.
        scaled = factor * (1 + module.eps) ** 0.5
        tensors = {
            "weight": scaled,
            "bias": summand,
            "running_mean": torch.zeros_like(summand),
            "running_var": torch.ones_like(summand),
        }
        for name, tensor in tensors.items():
            folded[f"{prefix}.{name}"] = tensor.to(getattr(module, name).dtype)
    return folded
