"""How much each weight error matters: the curvature of the network's own loss, layer by layer.

To second order, and with activations independent of gradients, a weight error D of a convolution,
F x (C*H*W), raises the expected loss by (K-FAC: Martens and Grosse 2015; convolutions 2016)

    1/2 * trace(G D A D^T),   A = E[sum over positions of a a^T],   G = E[mean over positions of g g^T],

a being the unfolded input patches and g the output gradients of the log-likelihood, with labels drawn
from the network's own predictions. A few hundred images without labels give both in seconds, and one
evaluation costs two small matrix products instead of a pass through the network.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Curvature:
    """Curvature of one layer in `groups` diagonal blocks.

    `inputs` (groups, C*H*W, C*H*W) is A, `outputs` (groups, F/g, F/g) is G; `fisher` (F, C) is the mean
    Fisher information of the weights of each kernel, measured on single images.
    """

    inputs: Tensor
    outputs: Tensor
    fisher: Tensor

    def gradient(self, error: Tensor) -> Tensor:
        """Gradient G D A of the quadratic form above at the weight error D, F x C x H x W."""
        blocks = error.reshape(len(self.inputs), -1, self.inputs.shape[-1])
        return (self.outputs @ blocks @ self.inputs).reshape(error.shape)


def quadratic_loss(
    weights: Mapping[str, Tensor], targets: Mapping[str, Tensor], curvature: Mapping[str, Curvature]
) -> Tensor:
    """Twice the expected increase of the loss in nats, over the layers that have a curvature.

    Its gradient is that of the increase itself: the product of an error with its own detached gradient
    needs one evaluation of the form instead of two.
    """
    terms = []
    for name, factors in curvature.items():
        error = weights[name] - targets[name]
        terms.append((error * factors.gradient(error.detach())).sum())
    return torch.stack(terms).sum()


def estimate_curvature(
    network: nn.Module, batches: Iterable[Tensor], names: set[str], generator: torch.Generator
) -> dict[str, Curvature]:
    """Estimate the curvature of the convolutions whose weights are `names` on batches of inputs (n, 3, H, W).

    Layers that are no plain 2-d convolutions are left out. The network is in evaluation mode.
    """
    layers = {
        f"{path}.weight": module
        for path, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and f"{path}.weight" in names
    }
    sums = {name: _Sums() for name in layers}
    images = 0
    with _hooks(layers, lambda name, patches, gradients: sums[name].add(patches, gradients)):
        for batch in batches:
            images += len(batch)
            # Some input must need a gradient for one to reach the outputs of frozen layers.
            logits = network(batch.detach().requires_grad_())
            labels = torch.multinomial(logits.detach().softmax(dim=1).cpu(), 1, generator=generator)[:, 0]
            F.cross_entropy(logits, labels.to(logits.device), reduction="sum").backward()
    return {name: sums[name].curvature(images, layer) for name, layer in layers.items()}


Observe = Callable[[str, Tensor, Tensor], None]


@contextmanager
def _hooks(layers: Mapping[str, nn.Conv2d], observe: Observe) -> Iterator[None]:
    def hook(name: str, layer: nn.Conv2d, layer_input: Tensor, output: Tensor) -> None:
        layer_input = layer_input.detach()

        def on_gradient(gradient: Tensor) -> None:
            patches = F.unfold(
                layer_input, tuple(layer.kernel_size), tuple(layer.dilation), _padding(layer), tuple(layer.stride)
            )
            positions = patches.shape[2]
            observe(
                name,
                patches.reshape(len(patches), layer.groups, -1, positions),
                gradient.reshape(len(gradient), layer.groups, -1, positions),
            )

        output.register_hook(on_gradient)

    handles = [
        layer.register_forward_hook(
            lambda module, inputs, output, name=name, layer=layer: hook(name, layer, inputs[0], output)
        )
        for name, layer in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    """Zero padding in pixels, (rows, columns)."""
    if layer.padding == "same":
        return tuple(d * (k - 1) // 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
    return (0, 0) if isinstance(layer.padding, str) else tuple(layer.padding)


class _Sums:
    """Accumulates the factors of one layer over batches.

    Patches are (n, groups, C*H*W, positions), gradients (n, groups, F/g, positions).
    """

    def __init__(self) -> None:
        self._inputs: Tensor | float = 0.0
        self._outputs: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, patches: Tensor, gradients: Tensor) -> None:
        self._inputs = self._inputs + _second_moment(patches)
        self._outputs = self._outputs + _second_moment(gradients) / gradients.shape[3]
        self._squares = self._squares + (gradients @ patches.mT).square().sum(dim=0)

    def curvature(self, images: int, layer: nn.Conv2d) -> Curvature:
        squares = torch.as_tensor(self._squares).reshape(layer.weight.shape)
        return Curvature(
            inputs=torch.as_tensor(self._inputs) / images,
            outputs=torch.as_tensor(self._outputs) / images,
            fisher=squares.flatten(2).mean(dim=2) / images,
        )


def _second_moment(values: Tensor) -> Tensor:
    """Sum over images and positions of the outer products: (n, groups, d, positions) -> (groups, d, d)."""
    rows = values.permute(1, 2, 0, 3).flatten(2)
    return rows @ rows.mT
