"""Batch normalization folded: two numbers per channel instead of four.

In evaluation mode it is one factor and one summand per channel. They become the layer's weight and bias; its running
mean becomes 0 and its running variance 1, so that the checkpoint keeps its names and shapes.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nern_core.networks.onnx_graph import BatchNorm, OnnxNetwork


@torch.no_grad()
def fold_batch_norm(network: nn.Module) -> dict[str, Tensor]:
    """Fold all batch normalizations of a network that have weights; return their tensors by name."""
    state = network.state_dict()
    folded: dict[str, Tensor] = {}
    for norm in network.batch_norms() if isinstance(network, OnnxNetwork) else _of_modules(network):
        deviation = (state[norm.variance].double() + norm.epsilon).sqrt()
        factor = state[norm.weight].double() / deviation
        summand = state[norm.bias].double() - state[norm.mean].double() * factor
        tensors = {
            # The layer divides by the square root of 1 + eps.
            norm.weight: factor * (1 + norm.epsilon) ** 0.5,
            norm.bias: summand,
            norm.mean: torch.zeros_like(summand),
            norm.variance: torch.ones_like(summand),
        }
        folded |= {name: tensor.to(state[name].dtype) for name, tensor in tensors.items()}
    return folded


def _of_modules(network: nn.Module) -> Iterator[BatchNorm]:
    for prefix, module in network.named_modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm) or module.running_mean is None:  # noqa: SLF001 # the base class for all dimensions
            continue
        if module.affine and module.running_var is not None:
            weight, bias, mean, variance = (
                f"{prefix}.{name}" for name in ("weight", "bias", "running_mean", "running_var")
            )
            yield BatchNorm(weight, bias, mean, variance, module.eps)
