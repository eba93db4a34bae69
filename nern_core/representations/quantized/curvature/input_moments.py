"""Second moments of the inputs of layers, recorded while a network runs.

Layers are recognized by the memory of their weights in the operations that torch executes, so that a module may be used
in any way: by its own code, through functions, several times, or within the graph of an ONNX file.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.curvature.layer_curvature import block_sizes

# Inputs with joint moments; more are divided into blocks.
LARGEST_BLOCK = 1024
# Input vectors that one execution of a layer adds at most.
_MOST_VECTORS = 4096

_aten = torch.ops.aten


@dataclass(slots=True)
class Moments:
    """Sums over `count` input vectors, for each block: of inputs, float32 (G, n), and of their products, (G, n, n)."""

    sums: list[Tensor]
    blocks: list[Tensor]
    count: int
    inputs_first: bool


class InputMoments(TorchDispatchMode):
    """Adds up the second moments of the inputs of convolutions and matrix products with the weights of layers.

    Other uses of a layer's weights, such as in embeddings and fused recurrent layers, are not recorded.
    """

    def __init__(self, layers: Sequence[KernelLayer], weights: Mapping[str, Tensor]) -> None:
        """`weights` are the tensors that the network computes with."""
        super().__init__()  # type: ignore[no-untyped-call] # untyped in torch
        self._layers = {weights[layer.name].data_ptr(): layer for layer in layers if layer.name in weights}
        self._strides = {layer.name: weights[layer.name].stride() for layer in layers if layer.name in weights}
        self.found: dict[str, Moments] = {}

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Any,  # noqa: ANN401
        arguments: tuple[Any, ...] = (),
        options: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401 # operations return anything
        """Execute an operation, and record the inputs if it multiplies them by the weights of a layer."""
        if function is _aten.convolution.default:
            self._add_convolution(*arguments)
        elif function is _aten.addmm.default:
            self._add_product(arguments[1], arguments[2])
        elif function is _aten.mm.default:
            self._add_product(arguments[0], arguments[1])
        return function(*arguments, **(options or {}))

    def _add_product(self, inputs: Tensor, weight: Tensor) -> None:
        layer = self._layers.get(weight.data_ptr())
        if layer is None or len(layer.shape) != 2 or weight.numel() != layer.weights:
            return
        inputs_first = weight.shape == layer.shape and weight.stride() == self._strides[layer.name]
        self._add(layer, _thinned(inputs)[:, None], 1, inputs_first=inputs_first)

    def _add_convolution(  # the arguments of the operation
        self,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        is_transposed: bool,
        output_padding: Sequence[int],
        groups: int,
    ) -> None:
        layer = self._layers.get(weight.data_ptr())
        if layer is None or weight.shape != layer.shape or layer.tile is not None:
            return
        if is_transposed:
            if groups == 1:
                vectors = _thinned(inputs.movedim(1, -1).reshape(-1, inputs.shape[1]))
                self._add(layer, vectors[:, None], 1, inputs_first=True)
            return
        patches = _patches(inputs, weight.shape[2:], stride, padding, dilation)
        vectors = patches.reshape(len(patches), groups, layer.inputs)
        self._add(layer, vectors, layer.kernel_values, inputs_first=False)

    def _add(self, layer: KernelLayer, vectors: Tensor, kernel_values: int, *, inputs_first: bool) -> None:
        """Add input vectors (m, G, inputs)."""
        sizes = block_sizes(vectors.shape[2], kernel_values, LARGEST_BLOCK)
        parts = vectors.float().split(sizes, dim=2)
        sums = [part.sum(dim=0) for part in parts]
        products = [torch.einsum("mgi,mgj->gij", part, part) for part in parts]
        known = self.found.get(layer.name)
        if known is None:
            self.found[layer.name] = Moments(sums, products, len(vectors), inputs_first)
        elif known.inputs_first == inputs_first:
            known.sums = [known_sum + new for known_sum, new in zip(known.sums, sums, strict=True)]
            known.blocks = [block + product for block, product in zip(known.blocks, products, strict=True)]
            known.count += len(vectors)


def _thinned(vectors: Tensor) -> Tensor:
    """Choose evenly spaced rows of (m, inputs), at most about `_MOST_VECTORS`."""
    return vectors[:: max(1, len(vectors) // _MOST_VECTORS)]


def _patches(
    inputs: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """Cut inputs (n, C, ...) into patches of a kernel's size at evenly spaced positions, (m, C, values of a kernel)."""
    axes = len(kernel)
    windows = F.pad(inputs, [size for size in reversed(padding) for _ in range(2)])
    for axis in range(axes):
        extent = (kernel[axis] - 1) * dilation[axis] + 1
        windows = windows.unfold(2 + axis, extent, stride[axis])[..., :: dilation[axis]]
    positions = math.prod(windows.shape[2 : 2 + axes])
    every = max(1, round((len(windows) * positions / _MOST_VECTORS) ** (1 / axes)))
    spaced = windows[
        (
            slice(None),
            slice(None),
            *(slice(every // 2, None, every) if size > every else slice(0, 1) for size in windows.shape[2 : 2 + axes]),
        )
    ]
    return spaced.movedim(1, 1 + axes).reshape(-1, inputs.shape[1], math.prod(kernel))
