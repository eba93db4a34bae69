"""Decode a `.nern` file into a checkpoint, deterministically, without the original and without data.

Quantized weights are products of integers and steps, the same everywhere (see `quantized.grid`). A predictor's weights
are predicted in float64 in a fixed order (see `prediction`) and rounded once to their stored dtype, so the bits do not
depend on the number of threads. Another processor may sum in another order, which changes a float64 result by about
1e-16 of its size: after rounding to float32 or less, the result is the same or the neighbouring number. `Arithmetic`
can trade that for speed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nern_core.container import Encoding, QuantizedWeights, read_encoding
from nern_core.container.kept import Kept, values_of
from nern_core.container.step_grid import step_of
from nern_core.contract.errors import NernError
from nern_core.representations.predicted.inference import predict_layers
from nern_core.representations.predicted.layer_scales import layer_scales
from nern_core.representations.predicted.permutation import inverse
from nern_core.representations.predicted.predictor import Predictor
from nern_core.tensors.checkpoint import Checkpoint
from nern_core.tensors.kernels import KernelLayer, assemble

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arithmetic:
    """Dtype and device for computing a predictor's weights. The decoded tensors are always on the CPU.

    In `torch.float32`, results depend on the processor and the device, by a few millionths of a layer's largest weight.
    """

    dtype: torch.dtype = torch.float64
    device: torch.device = _CPU


EXACT = Arithmetic()


def decode(encoding: Path, arithmetic: Arithmetic = EXACT) -> Checkpoint:
    """Decode a file. Raises `NernError` as `codec.read_encoding` does."""
    return decode_encoding(read_encoding(encoding), arithmetic)


def decode_encoding(encoding: Encoding, arithmetic: Arithmetic = EXACT) -> Checkpoint:
    """Rebuild every tensor of the checkpoint, in its order: decode the represented ones, copy the kept ones."""
    document = encoding.document
    layers = _decode_layers(encoding, range(len(document.layers)), arithmetic)
    represented = {layer.name: weights for layer, weights in zip(document.layers, layers, strict=True)}
    tensors = all_tensors(represented, encoding.kept, document.tied)
    return Checkpoint(
        {name: tensors[name] for name in document.tensor_order},
        file_names=document.file_names.by_name(document.tensor_order),
        metadata=document.metadata,
        extra_states=document.extra_states,
    )


def all_tensors(
    represented: Mapping[str, Tensor], kept: Mapping[str, Kept], tied: Mapping[str, str]
) -> dict[str, Tensor]:
    """Return the represented tensors, the values of the kept ones, and copies of both for the names tied to them."""
    tensors = {**{name: values_of(values) for name, values in kept.items()}, **represented}
    return tensors | {alias: tensors[name].clone() for alias, name in tied.items()}


def decode_layer(encoding: Encoding, name: str, arithmetic: Arithmetic = EXACT) -> Tensor:
    """Rebuild a single represented tensor, bit for bit as when all are decoded.

    Raises `NernError` (`unknown_tensor`) for a name that is not represented.
    """
    return _decode_layers(encoding, [_index_of(encoding, name)], arithmetic)[0]


def decode_kernel(encoding: Encoding, name: str, filter_: int, channel: int) -> Tensor:
    """Rebuild a single kernel, in the dtype of its tensor and with its shape, such as (3, 3); tiles are flat.

    Kernels that share a coordinate form one tile. A predicted kernel may differ from that of the whole layer by one
    rounding of the dtype. Raises `NernError` (`unknown_tensor`), and `IndexError` if the layer has no such filter or
    channel.
    """
    index = _index_of(encoding, name)
    layer, weights = encoding.document.layers[index], encoding.weights
    if not (0 <= filter_ < layer.filters and 0 <= channel < layer.channels):
        raise IndexError(f"{name} has {layer.filters} filters and {layer.channels} channels")
    if isinstance(weights, QuantizedWeights):
        quantized = weights.layers[index]
        values = quantized.integers[filter_, channel].double() * step_of(int(quantized.exponents[filter_]))
    else:
        place = filter_ * layer.channels + channel
        order = weights.orders[index]
        position = place if order is None else int((order == place).nonzero())
        coordinate = torch.tensor([[index, *divmod(position, layer.channels)]])
        with torch.no_grad():
            values = _predictor(encoding, EXACT).at(coordinate, layer.head)[0] * _scales(encoding)[index]
    return values.to(getattr(torch, layer.dtype)).view(layer.kernel_shape)


def _decode_layers(encoding: Encoding, indices: Sequence[int], arithmetic: Arithmetic) -> list[Tensor]:
    layers, weights = encoding.document.layers, encoding.weights
    if isinstance(weights, QuantizedWeights):
        return [weights.layers[index].weights(layers[index]) for index in indices]
    scales = _scales(encoding)
    predicted = predict_layers(_predictor(encoding, arithmetic), indices, [scales[index] for index in indices])
    return [
        _assemble(kernels, layers[index], weights.orders[index])
        for index, kernels in zip(indices, predicted, strict=True)
    ]


def _assemble(kernels: Tensor, layer: KernelLayer, order: Tensor | None) -> Tensor:
    return assemble(kernels if order is None else kernels[inverse(order)], layer).contiguous()


def _index_of(encoding: Encoding, name: str) -> int:
    for index, layer in enumerate(encoding.document.layers):
        if layer.name == name:
            return index
    raise NernError("unknown_tensor", f"The encoding does not represent a tensor '{name}'.")


def _scales(encoding: Encoding) -> tuple[float, ...]:
    representation, _ = encoding.predicted
    return layer_scales(representation.scale, representation.layer_exponents, len(encoding.document.layers))


def _predictor(encoding: Encoding, arithmetic: Arithmetic) -> Predictor:
    representation, weights = encoding.predicted
    predictor = Predictor(representation.predictor, encoding.document.layers).to(arithmetic.device, arithmetic.dtype)
    predictor.load_state_dict(weights.parameters)
    return predictor
