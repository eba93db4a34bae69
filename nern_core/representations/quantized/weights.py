"""Quantized weights, as a `.nern` file holds them, and the tensors that they decode to."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor

from nern_core.codec.layers import CodedLayer, WeightType
from nern_core.codec.reconstruction import weights_of
from nern_core.codec.streams import pack_layers
from nern_core.container.file import PackedWeights
from nern_core.contract.representations import QUANTIZED
from nern_core.formats.encoding_structure import VERSION_WITH_LANES
from nern_core.tensors.kernels import KernelLayer

_CODING: Final = "coding"
_LANES: Final = "lanes"


@dataclass(frozen=True, slots=True)
class QuantizedWeights:
    """The layers as integers, one for each layer of the document."""

    layers: tuple[CodedLayer, ...]


def describe_quantized() -> dict[str, JsonValue]:
    """Return the description for the document of a file."""
    return {"kind": QUANTIZED, _CODING: _LANES}


def describe_first_coding() -> dict[str, JsonValue]:
    """Return the description in documents of the format versions 4 to 6."""
    return {"kind": QUANTIZED}


def pack_quantized(weights: QuantizedWeights) -> PackedWeights:
    """Code the integers by their entropy."""
    return PackedWeights(streams=pack_layers(weights.layers), version=VERSION_WITH_LANES)


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
    # The last tile of a row is padded with zeros.
    return torch.cat([decoded, decoded.new_zeros(values - len(decoded))])


def _tensor(weights: NDArray[np.generic], layer: KernelLayer) -> Tensor:
    """Return an array as a tensor of the layer's dtype; NumPy has no bfloat16, and holds its bits."""
    dtype: torch.dtype = getattr(torch, layer.dtype)
    if dtype == torch.bfloat16:
        return torch.from_numpy(weights.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(weights)
