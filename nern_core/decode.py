"""Decode a `.nern` file into a checkpoint: no original, no data, the same bits every time.

Quantized weights are products of integers and steps, the same everywhere (see `quantized.grid`).

A predictor's weights are predicted in float64, in blocks of fixed size with one thread for each, and rounded once to
the dtype that they are stored in. One thread and fixed blocks make every sum run in the same order, so
the bits do not depend on the number of threads. Another processor may order a sum differently, which
moves a float64 result by about 1e-16 of its size: after rounding to float32 or less, the result is the
same or the neighbouring number.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from nern_core.checkpoint import Checkpoint
from nern_core.codec import Encoding, QuantizedWeights, read_encoding
from nern_core.codec.kept import values_of
from nern_core.kernels import assemble
from nern_core.permutation import inverse
from nern_core.predictor import FilterSpan, Predictor, filter_spans

_KERNELS_PER_BLOCK = 4096
# Each block at work takes some hundred megabytes where the predictor is large.
_MOST_BLOCKS_AT_ONCE = 8


def decode(encoding: Path) -> Checkpoint:
    """Decode a file. Raises `NernError` as `codec.read_encoding` does."""
    return decode_encoding(read_encoding(encoding))


def decode_encoding(encoding: Encoding) -> Checkpoint:
    """Rebuild every tensor of the checkpoint, in its order: the represented ones predicted, the others as kept."""
    document, weights = encoding.document, encoding.weights
    if isinstance(weights, QuantizedWeights):
        represented = {
            layer.name: quantized.weights(layer)
            for layer, quantized in zip(document.layers, weights.layers, strict=True)
        }
    else:
        represented = _predict_layers(encoding)
    tensors = {name: values_of(kept) for name, kept in encoding.kept.items()} | represented
    tensors |= {alias: tensors[name].clone() for alias, name in document.tied.items()}
    return Checkpoint({name: tensors[name] for name in document.tensor_order})


def _predict_layers(encoding: Encoding) -> dict[str, Tensor]:
    representation, weights = encoding.predicted
    layers = encoding.document.layers
    predictor = Predictor(representation.predictor, layers).double()
    predictor.load_state_dict({name: parameter.double() for name, parameter in weights.parameters.items()})
    with _single_threaded_workers() as workers:
        return {
            layer.name: _decode_layer(workers, predictor, index, weights.orders[index], representation.scale)
            for index, layer in enumerate(layers)
        }


def _decode_layer(
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
