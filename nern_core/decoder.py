"""Decode a `.nern` file into a checkpoint, deterministically, without the original and without data.

Quantized weights are products of integers and steps, the same everywhere (see `container.step_grid`). A predictor's
weights are predicted in float64 in a fixed order (see `representations.predicted.inference`) and rounded once to their
stored dtype, so the bits do not depend on the number of threads. Another processor may sum in another order, which
changes a float64 result by about 1e-16 of its size: after rounding to float32 or less, the result is the same or the
neighbouring number. `Arithmetic` can trade that for speed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nern_core.container.encoding import Encoding
from nern_core.container.rebuild import rebuild_checkpoint
from nern_core.contract.errors import NernError
from nern_core.networks.registry import load_weights
from nern_core.representations.files import read_encoding
from nern_core.representations.protocol import EXACT, Arithmetic
from nern_core.representations.registry import find_representation
from nern_core.tensors.checkpoint import Checkpoint

__all__ = ["EXACT", "Arithmetic", "decode", "decode_encoding", "decode_kernel", "decode_layer", "load"]


def decode(encoding: Path | str, arithmetic: Arithmetic = EXACT) -> Checkpoint:
    """Decode a file. Raises `NernError` as `read_encoding` does."""
    return decode_encoding(read_encoding(Path(encoding)), arithmetic)


def load(encoding: Path | str, network: nn.Module) -> nn.Module:
    """Decode a file into a network, and return the network.

    Raises `NernError` as `read_encoding` does, and `architecture_mismatch` if the weights do not fit the network.
    """
    load_weights(network, decode(Path(encoding)).tensors)
    return network


def decode_encoding(encoding: Encoding[Any], arithmetic: Arithmetic = EXACT) -> Checkpoint:
    """Rebuild every tensor of the checkpoint, in its order: decode the represented ones, copy the kept ones."""
    document = encoding.document
    layers = _decode_layers(encoding, range(len(document.layers)), arithmetic)
    represented = {layer.name: weights for layer, weights in zip(document.layers, layers, strict=True)}
    return rebuild_checkpoint(document, represented, encoding.kept)


def decode_layer(encoding: Encoding[Any], name: str, arithmetic: Arithmetic = EXACT) -> Tensor:
    """Rebuild a single represented tensor, bit for bit as when all are decoded.

    Raises `NernError` (`unknown_tensor`) for a name that is not represented.
    """
    return _decode_layers(encoding, [_index_of(encoding, name)], arithmetic)[0]


def decode_kernel(encoding: Encoding[Any], name: str, filter_: int, channel: int) -> Tensor:
    """Rebuild a single kernel, in the dtype of its tensor and with its shape, such as (3, 3); tiles are flat.

    Kernels that share a coordinate form one tile. A predicted kernel may differ from that of the whole layer by one
    rounding of the dtype. Raises `NernError` (`unknown_tensor`), and `IndexError` if the layer has no such filter or
    channel.
    """
    index = _index_of(encoding, name)
    layer = encoding.document.layers[index]
    if not (0 <= filter_ < layer.filters and 0 <= channel < layer.channels):
        raise IndexError(f"{name} has {layer.filters} filters and {layer.channels} channels")
    values = find_representation(encoding.document.kind).decode_kernel(encoding, index, filter_, channel)
    return values.to(getattr(torch, layer.dtype)).view(layer.kernel_shape)


def _decode_layers(encoding: Encoding[Any], indices: Sequence[int], arithmetic: Arithmetic) -> list[Tensor]:
    return find_representation(encoding.document.kind).decode_layers(encoding, indices, arithmetic)


def _index_of(encoding: Encoding[Any], name: str) -> int:
    for index, layer in enumerate(encoding.document.layers):
        if layer.name == name:
            return index
    raise NernError("unknown_tensor", f"The encoding does not represent a tensor '{name}'.")
