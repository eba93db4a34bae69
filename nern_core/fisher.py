"""How much each kernel matters to the network: the Fisher information of its weights.

The expected square of the gradient of the log-likelihood, with labels drawn from the network's own
predictions: a few hundred images without labels give it in seconds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def kernel_fisher(
    network: nn.Module, batches: Iterable[Tensor], names: set[str], generator: torch.Generator
) -> dict[str, Tensor]:
    """Mean Fisher information of the weights of each kernel, (F, C), for the convolutions whose weights are `names`.

    Measured on batches of inputs (n, 3, H, W), image by image. Layers that are no plain 2-d
    convolutions are left out. The network is in evaluation mode.
    """
    layers = {
        f"{path}.weight": module
        for path, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and f"{path}.weight" in names
    }
    sums = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    images = 0

    def add(name: str, gradients: Tensor) -> None:
        sums[name] += gradients.square().sum(dim=0).reshape(sums[name].shape)

    with _weight_gradients(layers, add):
        for batch in batches:
            images += len(batch)
            # Some input must need a gradient for one to reach the outputs of frozen layers.
            logits = network(batch.detach().requires_grad_())
            labels = torch.multinomial(logits.detach().softmax(dim=1).cpu(), 1, generator=generator)[:, 0]
            F.cross_entropy(logits, labels.to(logits.device), reduction="sum").backward()
    return {name: total.flatten(2).mean(dim=2) / images for name, total in sums.items()}


@contextmanager
def _weight_gradients(layers: Mapping[str, nn.Conv2d], observe: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Tell `observe` the gradients of each layer's weight for single images, (n, groups, F/g, C*H*W)."""

    def hook(name: str, layer: nn.Conv2d, layer_input: Tensor, output: Tensor) -> None:
        layer_input = layer_input.detach()

        def on_gradient(gradient: Tensor) -> None:
            patches = F.unfold(
                layer_input, tuple(layer.kernel_size), tuple(layer.dilation), _padding(layer), tuple(layer.stride)
            )
            images, _, positions = patches.shape
            grouped = patches.reshape(images, layer.groups, -1, positions)
            observe(name, gradient.reshape(images, layer.groups, -1, positions) @ grouped.mT)

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
