"""Steps on a GPU as CUDA graphs: the launches of a step are recorded once, and then repeated all at once.

A step of a small network is some thousand launches of a few microseconds each; one after the other they take several
times as long as the GPU needs.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nern_core.optim import Optimizers
from nern_core.training.loss import Batch, Loss
from nern_core.training.step import take_step

# Libraries choose their algorithms and optimizers make their memory in the first steps, which a graph cannot repeat.
_STEPS_BEFORE_CAPTURE = 3

_logger = logging.getLogger(__name__)


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, work on another stream than the default one, from which no graph can be captured."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


class GraphSteps:
    """Takes the steps of a training on a GPU. Where batches have other settings or shapes, a graph is captured anew."""

    def __init__(self, loss: Loss, optimizers: Optimizers) -> None:
        self._loss = loss
        self._optimizers = optimizers
        self._capturing = optimizers.capturable
        self._kind: object = None
        self._steps = 0
        self._graph: _Graph | None = None

    def __call__(self, fraction: float) -> Tensor:
        """Compute the loss of a new batch and step; the scalar holds until the next step."""
        # In memory that the GPU reads by itself, while the CPU goes on.
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
        except RuntimeError as error:
            # Networks may do what no graph can repeat, such as asking the GPU for a number.
            reason = str(error).partition("\n")[0]
            _logger.warning("The steps of this training cannot be repeated as a CUDA graph: %s", reason)
            self._capturing = False
            self._optimizers.clear_gradients()
            return None


class _Graph:
    """A step that is repeated with other numbers in the memory of its batch."""

    def __init__(self, loss: Loss, optimizers: Optimizers, batch: Batch) -> None:
        self._batch = batch
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            self._graph, stream=torch.cuda.current_stream(loss.device), capture_error_mode="thread_local"
        ):
            self._value = take_step(loss, optimizers, batch)

    def replay(self, batch: Batch) -> Tensor:
        """Step with the numbers of this batch."""
        for name, tensors in batch.tensors.items():
            for memory, tensor in zip(self._batch.tensors[name], tensors, strict=True):
                if memory is not tensor:
                    memory.copy_(tensor, non_blocking=True)
        self._graph.replay()
        return self._value


def _kind(batch: Batch) -> object:
    """What must be the same for a graph to be repeated."""
    shapes = {name: tuple((tensor.shape, tensor.dtype) for tensor in of) for name, of in batch.tensors.items()}
    return batch.settings, shapes
