"""Decode a `.nern` file into a checkpoint: no original, no data, the same bits every time.

The weights are predicted in float64, on one thread, in blocks of fixed size, and rounded once to the
dtype that they are stored in. One thread and fixed blocks make every sum run in the same order, so
the bits do not depend on the number of threads. Another processor may order a sum differently, which
moves a float64 result by about 1e-16 of its size: after rounding to float32 or less, the result is the
same or the neighbouring number.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from nern_core.checkpoint import Checkpoint
from nern_core.codec import Document, Encoding, read_encoding
from nern_core.kernels import KernelLayer, assemble
from nern_core.permutation import inverse
from nern_core.predictor import Predictor, filter_spans

_KERNELS_PER_BLOCK = 4096


def decode(encoding: Path) -> Checkpoint:
    """Decode a file. Raises `NernError` with the code `not_an_encoding` or `bad_encoding`."""
    return decode_encoding(read_encoding(encoding))


def decode_encoding(encoding: Encoding) -> Checkpoint:
    """Rebuild every tensor of the checkpoint, in its order: the represented ones predicted, the others as kept."""
    document = encoding.document
    predictor = _exact_predictor(encoding)
    represented = {
        layer.name: _decode_layer(predictor, index, layer, encoding.orders[index], document.scale)
        for index, layer in enumerate(document.layers)
    }
    tensors = encoding.kept | represented
    return Checkpoint({name: tensors[name] for name in document.tensor_order})


def _exact_predictor(encoding: Encoding) -> Predictor:
    document: Document = encoding.document
    predictor = Predictor(document.predictor, document.layers).double()
    predictor.load_state_dict({name: parameter.double() for name, parameter in encoding.predictor.items()})
    return predictor


@torch.no_grad()
def _decode_layer(predictor: Predictor, index: int, layer: KernelLayer, order: Tensor | None, scale: float) -> Tensor:
    with _one_thread():
        blocks = [predictor.of_filters([span], layer.head) for span in filter_spans(index, layer, _KERNELS_PER_BLOCK)]
    kernels = torch.cat(blocks) * scale
    if order is not None:
        kernels = kernels[inverse(order)]
    return assemble(kernels, layer).to(getattr(torch, layer.dtype)).contiguous()


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
