"""The shape that a layer is quantized in. Torch-free."""

from collections.abc import Sequence
from typing import Final

from nern_core.codec.layers import LayerShape
from nern_core.formats.kernel_layer import KernelLayer

# In tables, and in copies of them while they are decoded: 54 bytes were measured.
_NUMBERS_PER_COORDINATE: Final = 8


def shape_of(layer: KernelLayer) -> LayerShape:
    """Return the shape that a layer is quantized in: of a matrix, F x inputs x 1."""
    if layer.tile is not None:
        return LayerShape(layer.filters, layer.inputs, (1,))
    return LayerShape(layer.filters, layer.channels, layer.kernel_shape)


def scratch_values(layers: Sequence[KernelLayer]) -> int:
    """Count the numbers of the tables of layers; the integers take less than the decoded tensors."""
    return _NUMBERS_PER_COORDINATE * sum(sum(shape_of(layer).dimensions) for layer in layers)
