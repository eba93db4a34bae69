"""Steps on a GPU as CUDA graphs: the kernel launches of a step are recorded once, and then replayed together.

A step of a small network is about a thousand launches of a few microseconds each; launched one by one, they take
several times as long as the GPU needs.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nern_core.contract.errors import NernError
from nern_core.training.loss import Batch, Loss
from nern_core.training.optim import Optimizers
from nern_core.training.step import take_step

# In the first steps, libraries choose their algorithms and optimizers allocate memory, which a graph cannot replay.
_STEPS_BEFORE_CAPTURE = 3

_logger = logging.getLogger(__name__)


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, use a new stream, because graphs cannot be captured from the default stream."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


class GraphSteps:
    """Runs the steps of a training on a GPU. Captures a new graph when the batches' settings or shapes change."""

    def __init__(self, loss: Loss, optimizers: Optimizers) -> None:
        self._loss = loss
        self._optimizers = optimizers
        self._capturing = optimizers.capturable
        self._kind: object = None
        self._steps = 0
        self._graph: _Graph | None = None

    def __call__(self, fraction: float) -> Tensor:
        """Compute the loss of a new batch and step; the scalar is valid until the next step."""
        # Pinned memory, which the GPU reads by itself while the CPU continues.
        batch = self._loss.draw(fraction).each(Tensor.pin_memory)
        if _kind(batch) != self._kind:
            self._kind, self._steps, self._graph = _kind(batch), 0, None
        self._steps += 1
        if self._graph is not None:
            return self._graph.replay(batch)
        batch = batch.each(lambda tensor: tensor.to(self._loss.device, non_blocking=True))
        if self._capturing and self._steps > _STEPS_BEFORE_CAPTURE:
            self._graph = self._captured(batch)
        return take_step(self._loss, self._optimizers, batch) if self._graph is None else self._graph.replay(batch)

    def _captured(self, batch: Batch) -> "_Graph | None":
        try:
            return _Graph(self._loss, self._optimizers, batch)
        except (RuntimeError, NernError) as error:
            # Networks may do things that no graph can replay, such as reading a number back from the GPU.
            reason = str(error).partition("\n")[0]
            _logger.warning("The steps of this training cannot be repeated as a CUDA graph: %s", reason)
            self._capturing = False
            self._optimizers.clear_gradients()
            return None


class _Graph:
    """A step that is replayed with new values in the memory of its batch."""

    def __init__(self, loss: Loss, optimizers: Optimizers, batch: Batch) -> None:
        self._batch = batch
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            self._graph, stream=torch.cuda.current_stream(loss.device), capture_error_mode="thread_local"
        ):
            self._value = take_step(loss, optimizers, batch)

    def replay(self, batch: Batch) -> Tensor:
        """Step with the values of this batch."""
        for name, tensors in batch.tensors.items():
            for memory, tensor in zip(self._batch.tensors[name], tensors, strict=True):
                if memory is not tensor:
                    memory.copy_(tensor, non_blocking=True)
        self._graph.replay()
        return self._value


def _kind(batch: Batch) -> object:
    """Return the properties that must not change for a graph to be replayed."""
    shapes = {name: tuple((tensor.shape, tensor.dtype) for tensor in of) for name, of in batch.tensors.items()}
    return batch.settings, shapes
