"""The smoothness regularizer for training an original network (paper, section 3.3).

A predictor is a smooth function of coordinates, so a network with similar neighbouring kernels is easier to represent,
without storing any permutation. Add the penalty to the loss of any training:

    loss = F.cross_entropy(network(images), labels) + factor * smoothness_penalty(network)

The published factors are 1e-6 to 5e-5.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

_SMALLEST_NORM = 1e-8
# Kernels with a smaller norm, relative to the usual one of their layer, count as zero: the slope of a cosine grows with
# 1 / norm, and a single dead kernel would outweigh the whole loss.
_SMALLEST_PART = 1e-3


def smoothness_penalty(network: nn.Module) -> Tensor:
    """Return the sum of `kernel_roughness` over all convolutions, of one to three dimensions; a scalar.

    Differentiable. Raises `ValueError` for a network without convolutions.
    """
    terms = [kernel_roughness(weight) for weight in _weights(network)]
    if not terms:
        raise ValueError("the network has no convolutions")
    return torch.stack(terms).sum()


def kernel_roughness(weight: Tensor) -> Tensor:
    """Return the dissimilarity of neighbouring kernels of a weight F x C x ..., along filters and channels; a scalar.

    It is the sum of 1 - cosine over all pairs of neighbours. Kernels of one value have no direction: for these it is
    the sum of squared differences, after the whole weight is divided by its root mean square. A zero kernel has the
    cosine 0 with all others.
    """
    kernels = weight.flatten(2)
    if kernels.shape[2] == 1:
        scaled = kernels / kernels.square().mean().clamp(min=_SMALLEST_NORM**2).sqrt()
        return scaled.diff(dim=0).square().sum() + scaled.diff(dim=1).square().sum()
    units = _unit_kernels(kernels)
    along_filters = (units[:-1] * units[1:]).sum(dim=2)
    along_channels = (units[:, :-1] * units[:, 1:]).sum(dim=2)
    return (1 - along_filters).sum() + (1 - along_channels).sum()


def _unit_kernels(kernels: Tensor) -> Tensor:
    """Divide every kernel by its norm; one that counts as zero becomes zero and gets no gradient."""
    squares = kernels.square().sum(dim=2, keepdim=True)
    counted = squares > (_SMALLEST_PART**2 * squares.detach().mean()).clamp(min=_SMALLEST_NORM**2)
    # Avoid a zero norm in the unused branch, too: an infinite slope times zero is NaN.
    return torch.where(counted, kernels / torch.where(counted, squares, 1.0).sqrt(), 0.0)


def _weights(network: nn.Module) -> Iterator[Tensor]:
    for module in network.modules():
        if isinstance(module, _ConvNd):
            yield module.weight
