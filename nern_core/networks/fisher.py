"""The influence of each kernel on the network: the Fisher information of its weights.

It is the expected square of the gradient of the log-likelihood, with labels drawn from the network's own predictions: a
few hundred images without labels give it in seconds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.tensors.kernels import cut

# Limit on values of per-image gradients and input patches in memory at once, 64 MiB each in float32.
_MOST_VALUES_AT_ONCE = 2**24


def kernel_fisher(
    network: nn.Module, batches: Iterable[Tensor], layers: Sequence[KernelLayer], generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the mean Fisher information of each kernel's weights, float32 (filters, channels), by layer name.

    Measured on batches of inputs (n, 3, H, W), image by image. Only 2-d convolutions with zero padding and linear
    layers are measured; other layers are left out. The result is empty if no weight influences the outputs. The network
    must be in evaluation mode.
    """
    modules = _measurable_modules(network, {layer.name for layer in layers})
    sums = {name: torch.zeros_like(network.get_parameter(name)) for name in modules}
    images = 0

    def add(name: str, squares: Tensor) -> None:
        sums[name] += squares.reshape(sums[name].shape)

    with _squared_gradients(modules, add):
        for batch in batches:
            images += len(batch)
            # The input must require a gradient for gradients to reach the outputs of frozen layers.
            logits = network(batch.detach().requires_grad_())
            labels = torch.multinomial(logits.detach().softmax(dim=1).cpu(), 1, generator=generator)[:, 0]
            F.cross_entropy(logits, labels.to(logits.device), reduction="sum").backward()
    if not any(total.any() for total in sums.values()):
        return {}
    return {layer.name: _kernel_means(sums[layer.name] / images, layer) for layer in layers if layer.name in sums}


def _measurable_modules(network: nn.Module, names: set[str]) -> dict[str, nn.Conv2d | nn.Linear]:
    return {
        f"{path}.weight": module
        for path, module in network.named_modules()
        if f"{path}.weight" in names
        and ((isinstance(module, nn.Conv2d) and module.padding_mode == "zeros") or isinstance(module, nn.Linear))
    }


def _kernel_means(values: Tensor, layer: KernelLayer) -> Tensor:
    """Average over the weights of each kernel, without the padding of tiles."""
    sums, counts = (cut(part, layer).sum(dim=1) for part in (values, torch.ones_like(values)))
    return (sums / counts).reshape(layer.filters, layer.channels)


@contextmanager
def _squared_gradients(
    modules: Mapping[str, nn.Conv2d | nn.Linear], observe: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `observe` with each module's squared gradients, summed over images, in any shape of its weight."""

    def hook(name: str, module: nn.Conv2d | nn.Linear, layer_input: Tensor, output: Tensor) -> None:
        layer_input = layer_input.detach()

        def on_gradient(gradient: Tensor) -> None:
            for inputs, gradients in _parts(module, layer_input, gradient):
                squares = _convolution if isinstance(module, nn.Conv2d) else _linear
                observe(name, squares(module, inputs, gradients))  # type: ignore[arg-type] # matches the module's type

        output.register_hook(on_gradient)

    handles = [
        module.register_forward_hook(
            lambda _, inputs, output, name=name, module=module: hook(name, module, inputs[0], output)
        )
        for name, module in modules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _parts(module: nn.Conv2d | nn.Linear, inputs: Tensor, gradients: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Split into runs of images whose per-image gradients and patches fit in memory."""
    window = module.weight[0, 0].numel()
    patches = inputs[0].shape[0] * window * gradients[0, 0].numel() if isinstance(module, nn.Conv2d) else 0
    images = max(1, _MOST_VALUES_AT_ONCE // max(module.weight.numel(), patches))
    return zip(inputs.split(images), gradients.split(images), strict=True)


def _convolution(layer: nn.Conv2d, inputs: Tensor, gradients: Tensor) -> Tensor:
    """Sum the squared gradients over images: (groups, F/g, C*H*W)."""
    patches = F.unfold(inputs, tuple(layer.kernel_size), tuple(layer.dilation), _padding(layer), tuple(layer.stride))
    images, _, positions = patches.shape
    grouped = patches.reshape(images, layer.groups, -1, positions)
    return (gradients.reshape(images, layer.groups, -1, positions) @ grouped.mT).square().sum(dim=0)


def _linear(layer: nn.Linear, inputs: Tensor, gradients: Tensor) -> Tensor:
    """Sum the squared gradients over images, (outputs, inputs); an image may have several positions."""
    if inputs.ndim == 2:
        return gradients.square().mT @ inputs.square()
    return (gradients.flatten(1, -2).mT @ inputs.flatten(1, -2)).square().sum(dim=0)


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    """Return the zero padding in pixels, (rows, columns)."""
    if layer.padding == "same":
        return tuple(d * (k - 1) // 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
    return (0, 0) if isinstance(layer.padding, str) else tuple(layer.padding)
