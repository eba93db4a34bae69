"""Quantized weights, in memory or as a `.nern` file holds them, and the tensors that they decode to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nern_core.codec.layers import CodedLayer, WeightType
from nern_core.codec.packed_layer import PackedLayer
from nern_core.codec.reconstruction import weights_of
from nern_core.codec.streams import decode_kernel, decode_layers, open_layers, pack_layers
from nern_core.container.file import PackedWeights
from nern_core.formats.encoding_structure import VERSION_WITH_LANES
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.layer_shape import shape_of


class QuantizedWeights(Protocol):
    """The weights of all layers of a document."""

    def packed(self) -> PackedWeights:
        """Return the weights as they are stored."""

    def tensors(self, indices: Sequence[int], layers: Sequence[KernelLayer]) -> list[Tensor]:
        """Decode the layers with these indices among all `layers`. Raises `NernError` (`bad_encoding`)."""

    def kernel(self, index: int, layer: KernelLayer, filter_: int, channel: int) -> Tensor:
        """Decode one kernel of the layer with this index, (P,). Raises `NernError` (`bad_encoding`)."""


@dataclass(frozen=True, slots=True)
class IntegerWeights:
    """The layers as integers, one for each layer of the document."""

    layers: tuple[CodedLayer, ...]

    def packed(self) -> PackedWeights:
        """Code the integers by their entropy."""
        return _packed(pack_layers(self.layers))

    def tensors(self, indices: Sequence[int], layers: Sequence[KernelLayer]) -> list[Tensor]:
        """Multiply integers and steps."""
        return [decoded_tensor(self.layers[index], layers[index]) for index in indices]

    def kernel(self, index: int, layer: KernelLayer, filter_: int, channel: int) -> Tensor:
        """Decode one kernel, in float64."""
        return decoded_kernel(self.layers[index], layer, filter_, channel)


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """The `streams` of a file; its layers are decoded straight to weights when they are needed."""

    streams: Sequence[bytes]
    layers: tuple[PackedLayer, ...]

    def packed(self) -> PackedWeights:
        """Return the streams."""
        return _packed(self.streams)

    def tensors(self, indices: Sequence[int], layers: Sequence[KernelLayer]) -> list[Tensor]:
        """Decode the layers with these indices, all at once."""
        chosen = [layers[index] for index in indices]
        types = [WeightType(layer.dtype) for layer in chosen]
        found = decode_layers([self.layers[index] for index in indices], types)
        return [_tensor(weights, layer).reshape(layer.shape) for weights, layer in zip(found, chosen, strict=True)]

    def kernel(self, index: int, layer: KernelLayer, filter_: int, channel: int) -> Tensor:
        """Decode one kernel in the dtype of its layer; of a matrix, the layer that it is a part of."""
        if layer.tile is None:
            values = decode_kernel(self.layers[index], filter_, channel, WeightType(layer.dtype))
            return _tensor(values, layer)
        (matrix,) = decode_layers([self.layers[index]], [WeightType(layer.dtype)])
        row = _tensor(matrix, layer)[filter_].flatten()
        return _padded(row[channel * layer.tile : (channel + 1) * layer.tile], layer.tile)


def stored_weights(streams: Sequence[bytes], layers: Sequence[KernelLayer]) -> StoredWeights:
    """Open the streams of a file with these layers. Raises `NernError` (`bad_encoding`)."""
    return StoredWeights(streams, open_layers(streams, [shape_of(layer) for layer in layers]))


def decoded_tensor(coded: CodedLayer, layer: KernelLayer) -> Tensor:
    """Return the tensor of a layer, in its shape and dtype; the same bits everywhere."""
    kernels = coded.integers.reshape(-1, coded.shape.positions)
    weights = weights_of(kernels, coded.tables, coded.shape, WeightType(layer.dtype))
    rows = _tensor(weights, layer).reshape(layer.filters, -1)
    # The last tile of a row may be longer than the row.
    return rows[:, : layer.inputs].reshape(layer.shape).contiguous()


def decoded_kernel(coded: CodedLayer, layer: KernelLayer, filter_: int, channel: int) -> Tensor:
    """Return one kernel of a layer, (P,), before it is rounded to the layer's dtype; of a matrix, a tile."""
    values, shape = layer.kernel_values, coded.shape
    first = filter_ * shape.channels + channel * values // shape.positions
    count = min(values // shape.positions, (filter_ + 1) * shape.channels - first)
    kernels = coded.integers.reshape(-1, shape.positions)[first : first + count]
    decoded = torch.from_numpy(weights_of(kernels, coded.tables, shape, WeightType.FLOAT64, first).copy()).flatten()
    return _padded(decoded, values)


def _packed(streams: Sequence[bytes]) -> PackedWeights:
    return PackedWeights(streams=streams, version=VERSION_WITH_LANES)


def _padded(values: Tensor, size: int) -> Tensor:
    """Return values with zeros behind them: the last tile of a row may be longer than the row."""
    return torch.cat([values, values.new_zeros(size - len(values))])


def _tensor(weights: NDArray[np.generic], layer: KernelLayer) -> Tensor:
    """Return an array as a tensor of the layer's dtype; NumPy has no bfloat16, and holds its bits."""
    dtype: torch.dtype = getattr(torch, layer.dtype)
    if dtype == torch.bfloat16:
        return torch.from_numpy(weights.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(weights)
