"""The shape that a layer is quantized in."""

from nern_core.codec.layers import LayerShape
from nern_core.tensors.kernels import KernelLayer


def shape_of(layer: KernelLayer) -> LayerShape:
    """Return the shape that a layer is quantized in: of a matrix, F x inputs x 1."""
    if layer.tile is not None:
        return LayerShape(layer.filters, layer.inputs, (1,))
    return LayerShape(layer.filters, layer.channels, layer.kernel_shape)
