"""The smoothness regularizer for training an original network (paper, section 3.3).

A predictor is a smooth function of coordinates, so a network whose neighbouring kernels are alike is
easier to represent, without any permutation to be stored. Add the penalty to the loss of any training:

    loss = F.cross_entropy(network(images), labels) + factor * smoothness_penalty(network)

The published factors are 1e-6 to 5e-5.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

_SMALLEST_NORM = 1e-8
# Kernels whose norm is a smaller part of what is usual in their layer count as zero: the slope of a cosine grows with
# 1 / norm, and a single dead kernel would outweigh the whole loss.
_SMALLEST_PART = 1e-3


def smoothness_penalty(network: nn.Module) -> Tensor:
    """Scalar: the sum over all convolutions, of one to three dimensions, of `kernel_roughness` of their weights.

    Differentiable. Raises `ValueError` for a network without convolutions.
    """
    terms = [kernel_roughness(weight) for weight in _weights(network)]
    if not terms:
        raise ValueError("the network has no convolutions")
    return torch.stack(terms).sum()


def kernel_roughness(weight: Tensor) -> Tensor:
    """How unlike the neighbouring kernels of a weight F x C x ... are, along filters and along channels; a scalar.

    The sum of 1 - cosine over all pairs of neighbours. A kernel of one value has no direction: there it is the
    sum of squared differences, after the whole weight has been divided by its root mean square. A zero kernel has the
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
    # Where the norm is not used it must not be zero either: an infinite slope times zero is no number.
    return torch.where(counted, kernels / torch.where(counted, squares, 1.0).sqrt(), 0.0)


def _weights(network: nn.Module) -> Iterator[Tensor]:
    for module in network.modules():
        if isinstance(module, _ConvNd):
            yield module.weight
