"""Decode a `.nern` file into a checkpoint: no original, no data, the same bits every time.

Quantized weights are products of integers and steps, the same everywhere (see `quantized.grid`).

A predictor's weights are predicted in float64, in blocks of fixed size with one thread for each, and rounded once to
the dtype that they are stored in. One thread and fixed blocks make every sum run in the same order, so
the bits do not depend on the number of threads. Another processor may order a sum differently, which
moves a float64 result by about 1e-16 of its size: after rounding to float32 or less, the result is the
same or the neighbouring number.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from nern_core.checkpoint import Checkpoint
from nern_core.codec import Encoding, QuantizedWeights, read_encoding
from nern_core.codec.kept import values_of
from nern_core.errors import NernError
from nern_core.kernels import assemble
from nern_core.permutation import inverse
from nern_core.predictor import FilterSpan, Predictor, filter_spans
from nern_core.quantized.grid import step_of

_KERNELS_PER_BLOCK = 4096
# Each block at work takes some hundred megabytes where the predictor is large.
_MOST_BLOCKS_AT_ONCE = 8


def decode(encoding: Path) -> Checkpoint:
    """Decode a file. Raises `NernError` as `codec.read_encoding` does."""
    return decode_encoding(read_encoding(encoding))


def decode_encoding(encoding: Encoding) -> Checkpoint:
    """Rebuild every tensor of the checkpoint, in its order: the represented ones decoded, the others as kept."""
    document = encoding.document
    layers = _decode_layers(encoding, range(len(document.layers)))
    tensors = {name: values_of(kept) for name, kept in encoding.kept.items()}
    tensors |= {layer.name: weights for layer, weights in zip(document.layers, layers, strict=True)}
    tensors |= {alias: tensors[name].clone() for alias, name in document.tied.items()}
    return Checkpoint({name: tensors[name] for name in document.tensor_order})


def decode_layer(encoding: Encoding, name: str) -> Tensor:
    """Rebuild one represented tensor alone, bit for bit as with all others.

    Raises `NernError` (`unknown_tensor`) for a name that is not represented.
    """
    return _decode_layers(encoding, [_index_of(encoding, name)])[0]


def decode_kernel(encoding: Encoding, name: str, filter_: int, channel: int) -> Tensor:
    """Rebuild one kernel alone, in the dtype of its tensor and with its shape, such as (3, 3); tiles are (16,).

    A predicted one may differ from that of the whole layer by a rounding of the dtype. Raises `NernError`
    (`unknown_tensor`), and `IndexError` where the layer has no such filter or channel.
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
            values = _exact_predictor(encoding).at(coordinate, layer.head)[0] * encoding.predicted[0].scale
    return values.to(getattr(torch, layer.dtype)).view(layer.kernel_shape)


def _decode_layers(encoding: Encoding, indices: Sequence[int]) -> list[Tensor]:
    layers, weights = encoding.document.layers, encoding.weights
    if isinstance(weights, QuantizedWeights):
        return [weights.layers[index].weights(layers[index]) for index in indices]
    predictor, scale = _exact_predictor(encoding), encoding.predicted[0].scale
    with _single_threaded_workers() as workers:
        return [_predict_layer(workers, predictor, index, weights.orders[index], scale) for index in indices]


def _index_of(encoding: Encoding, name: str) -> int:
    for index, layer in enumerate(encoding.document.layers):
        if layer.name == name:
            return index
    raise NernError("unknown_tensor", f"The encoding does not represent a tensor '{name}'.")


def _exact_predictor(encoding: Encoding) -> Predictor:
    representation, weights = encoding.predicted
    predictor = Predictor(representation.predictor, encoding.document.layers).double()
    predictor.load_state_dict({name: parameter.double() for name, parameter in weights.parameters.items()})
    return predictor


def _predict_layer(
    workers: ThreadPoolExecutor, predictor: Predictor, index: int, order: Tensor | None, scale: float
) -> Tensor:
    layer = predictor.layers[index]
    dtype = getattr(torch, layer.dtype)

    @torch.no_grad()
    def predict(span: FilterSpan) -> Tensor:
        kernels: Tensor = predictor.of_filters([span], layer.head)
        return kernels.mul_(scale).to(dtype)

    kernels = torch.cat(list(workers.map(predict, filter_spans(index, layer, _KERNELS_PER_BLOCK))))
    if order is not None:
        kernels = kernels[inverse(order)]
    return assemble(kernels, layer).contiguous()


@contextmanager
def _single_threaded_workers() -> Iterator[ThreadPoolExecutor]:
    """Threads for single blocks, in each of which torch uses no further ones."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # Threads that start from now on use one thread for themselves.
        with ThreadPoolExecutor(min(threads, _MOST_BLOCKS_AT_ONCE)) as workers:
            yield workers
    finally:
        torch.set_num_threads(threads)
