"""How much each weight error matters: Kronecker-factored curvature of the network's own loss.

For a convolution with weight W, F x (C*H*W), the expected increase of the loss under a weight error D
is, to second order and with activations independent of gradients (Martens and Grosse 2015; for
convolutions Grosse and Martens 2016),

    1/2 * trace(G D A D^T),   A = E[sum over positions of a a^T],   G = E[mean over positions of g g^T],

a being the unfolded input patches and g the gradients of the log-likelihood with labels drawn from
the network's own predictions. A few hundred images without labels give good factors in seconds, and
one evaluation costs a few matrix products instead of a pass through the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_IMAGES_PER_BATCH = 64


@dataclass(frozen=True, slots=True)
class Curvature:
    """Factors of one layer in `groups` diagonal blocks: `inputs` (groups, C*H*W, C*H*W) is A, `outputs`
    (groups, F / groups, F / groups) is G."""

    inputs: Tensor
    outputs: Tensor

    def gradient(self, error: Tensor) -> Tensor:
        """Gradient G D A of the quadratic form above at the weight error D of shape F x C x H x W."""
        blocks = error.reshape(len(self.inputs), -1, self.inputs.shape[-1])
        return (self.outputs @ blocks @ self.inputs).reshape(error.shape)

    def diagonal(self, shape: torch.Size) -> Tensor:
        """Diagonal of the Fisher matrix by these factors, in the shape F x C x H x W of the weight."""
        outputs = self.outputs.diagonal(dim1=1, dim2=2)
        return (outputs[:, :, None] * self.inputs.diagonal(dim1=1, dim2=2)[:, None, :]).reshape(shape)


def quadratic_loss(weights: Mapping[str, Tensor], targets: Mapping[str, Tensor], curvature: Mapping[str, Curvature]) -> Tensor:
    """Expected increase of the loss in nats, summed over the layers that have a curvature; differentiable."""
    loss = torch.zeros(())
    for name, factors in curvature.items():
        error = weights[name] - targets[name]
        # The product with its own detached gradient has that gradient, at the price of one evaluation.
        loss = loss + (error * factors.gradient(error.detach())).sum()
    return loss


def estimate_curvature(network: nn.Module, inputs: Tensor, names: set[str], generator: torch.Generator) -> dict[str, Curvature]:
    """Estimate the factors of the convolutions whose weights are `names` on inputs (n, 3, H, W).

    Layers that are no plain 2-d convolutions are left out. The network is in evaluation mode.
    """
    layers = {
        f"{path}.weight": module
        for path, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and f"{path}.weight" in names
    }
    sums = {name: _Sums(module) for name, module in layers.items()}
    handles = [module.register_forward_hook(sums[name].observe) for name, module in layers.items()]
    try:
        for batch in inputs.split(_IMAGES_PER_BATCH):
            # Some input must need a gradient for one to reach the outputs of frozen layers.
            logits = network(batch.requires_grad_())
            labels = torch.multinomial(logits.detach().softmax(dim=1).cpu(), 1, generator=generator)[:, 0]
            F.cross_entropy(logits, labels.to(logits.device), reduction="sum").backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
    return {name: total.curvature(len(inputs)) for name, total in sums.items()}


class _Sums:
    """Accumulates the two factors of one convolution over batches."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self._layer = layer
        self._inputs: Tensor | float = 0.0
        self._outputs: Tensor | float = 0.0

    def observe(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        """Forward hook: add the batch's input patches now, its output gradients when they come."""
        patches = self._patches(inputs[0].detach())
        self._inputs = self._inputs + patches @ patches.mT
        output.register_hook(self._observe_gradient)

    def _observe_gradient(self, gradient: Tensor) -> None:
        images, _, height, width = gradient.shape
        rows = gradient.transpose(0, 1).reshape(self._layer.groups, -1, images * height * width)
        self._outputs = self._outputs + rows @ rows.mT / (height * width)

    def _patches(self, inputs: Tensor) -> Tensor:
        """Unfold inputs into (groups, C*H*W of a group, images * positions)."""
        layer = self._layer
        patches = F.unfold(
            inputs, tuple(layer.kernel_size), tuple(layer.dilation), _padding(layer), tuple(layer.stride)
        )
        return patches.transpose(0, 1).reshape(layer.groups, -1, patches.shape[0] * patches.shape[2])

    def curvature(self, images: int) -> Curvature:
        """The factors per image."""
        assert isinstance(self._inputs, Tensor) and isinstance(self._outputs, Tensor)
        return Curvature(self._inputs / images, self._outputs / images)


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    """Zero padding in pixels on each side, (rows, columns)."""
    if layer.padding == "same":
        return tuple(d * (k - 1) // 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
    return (0, 0) if isinstance(layer.padding, str) else tuple(layer.padding)
