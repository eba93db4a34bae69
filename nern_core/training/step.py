"""One step of a training."""

from torch import Tensor

from nern_core.training.loss import Batch, Loss
from nern_core.training.optim import Optimizers


def take_step(loss: Loss, optimizers: Optimizers, batch: Batch) -> Tensor:
    """Compute the loss of a batch and its gradients, and step; return the loss, without a gradient."""
    value = loss.compute(batch)
    value.backward()
    optimizers.step()
    return value.detach()
