"""Predict whole layers without gradients, several blocks at once, in preallocated memory.

Fresh memory for every product would cost more than the product, because the system maps it page by page, for one thread
at a time. Each block is computed by one thread and has a fixed size, so every sum runs in the same order for any number
of threads.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue

import torch
from torch import Tensor, nn

from nern_core.representations.predicted.gelu import gelu_
from nern_core.representations.predicted.predictor import Activation, FilterSpan, Predictor, filter_spans

# Chosen so that the features of a predictor of usual width stay in a core's cache.
_KERNELS_PER_BLOCK = 1024
# For a GPU, if this allows more kernels: enough features to keep it busy; 256 MiB in float64.
_FEATURES_PER_BLOCK_OF_GPU = 2**25
# Each active block takes tens of megabytes for a large predictor.
_MOST_BLOCKS_AT_ONCE = 8
_IN_PLACE: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "gelu": gelu_,
    "silu": torch.ops.aten.silu_,
    "sine": torch.sin_,
}


def predict_layers(predictor: Predictor, indices: Sequence[int], scales: Sequence[float]) -> list[Tensor]:
    """Predict all kernels of these layers: (kernels, kernel values) for each, in raster order, times its scale.

    Computed on the parameters' device in their dtype, then rounded once to the dtype of the layer, on the CPU.
    """
    layers = predictor.layers
    kernels_per_block = _kernels_per_block(predictor)
    spans = [filter_spans(index, layers[index], kernels_per_block) for index in indices]
    most_kernels = max((span.kernels_of(layers[span.layer]) for of_layer in spans for span in of_layer), default=0)
    blocks_at_once = _blocks_at_once(predictor)
    with _single_threaded_workers(blocks_at_once) as workers:
        evaluation = _Evaluation(predictor, [_Workspace(predictor, most_kernels) for _ in range(blocks_at_once)])
        blocks = [
            [workers.submit(evaluation.predict, span, scale) for span in of_layer]
            for of_layer, scale in zip(spans, scales, strict=True)
        ]
        return [torch.cat([block.result() for block in of_layer]) for of_layer in blocks]


class _Workspace:
    """Memory for the outputs of the layers for one block."""

    def __init__(self, predictor: Predictor, most_kernels: int) -> None:
        parameter = predictor.first.weight
        self.code = parameter.new_empty(most_kernels, predictor.first.out_features)
        self.products = tuple(parameter.new_empty(most_kernels, predictor.config.hidden_size) for _ in range(2))


class _Evaluation:
    """In-place version of `Predictor.of_filters`, for as many threads as there are workspaces."""

    def __init__(self, predictor: Predictor, workspaces: Iterable[_Workspace]) -> None:
        self._predictor = predictor
        self._activate = _IN_PLACE[predictor.config.variant.activation]
        self._idle = SimpleQueue[_Workspace]()
        for workspace in workspaces:
            self._idle.put(workspace)
        with torch.no_grad():
            self._tables = predictor.tables()

    @torch.no_grad()
    def predict(self, span: FilterSpan, scale: float) -> Tensor:
        """Predict the kernels of a block."""
        layer = self._predictor.layers[span.layer]
        workspace = self._idle.get()
        try:
            features = self._features(span, workspace)
            kernels: Tensor = self._predictor.heads[layer.head](features)
        finally:
            self._idle.put(workspace)
        return kernels.mul_(scale).to("cpu", getattr(torch, layer.dtype))

    def _features(self, span: FilterSpan, workspace: _Workspace) -> Tensor:
        predictor, connections = self._predictor, self._predictor.config.variant.connections
        code, *again = self._code(span, workspace.code).split(predictor.config.hidden_size, dim=1)
        features = self._activate(code)
        for index, layer in enumerate(predictor.hidden):
            assert isinstance(layer, nn.Linear)
            product = workspace.products[index % 2][: len(features)]
            torch.addmm(layer.bias, features, layer.weight.t(), out=product)
            if again and index == predictor.halfway:
                product += again[0]
            output = self._activate(product)
            features = features.add_(output) if connections == "residual" else output
        return features

    def _code(self, span: FilterSpan, memory: Tensor) -> Tensor:
        """Return the first layer's products for all kernels of a block."""
        filters, channels = self._predictor.rows_of(span, self._tables)
        code = memory[: len(filters) * len(channels)]
        torch.add(filters[:, None], channels[None], out=code.view(len(filters), len(channels), -1))
        return code


def _kernels_per_block(predictor: Predictor) -> int:
    if _on_cpu(predictor):
        return _KERNELS_PER_BLOCK
    return max(_KERNELS_PER_BLOCK, _FEATURES_PER_BLOCK_OF_GPU // predictor.config.hidden_size)


def _blocks_at_once(predictor: Predictor) -> int:
    # A GPU computes blocks one after the other anyway.
    return min(torch.get_num_threads(), _MOST_BLOCKS_AT_ONCE) if _on_cpu(predictor) else 1


def _on_cpu(predictor: Predictor) -> bool:
    return predictor.first.weight.device.type == "cpu"


@contextmanager
def _single_threaded_workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Start threads for single blocks; until they end, torch uses one thread in each of them and in this one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # Threads that start from now on use a single torch thread.
        with ThreadPoolExecutor(count) as workers:
            yield workers
    finally:
        torch.set_num_threads(threads)
