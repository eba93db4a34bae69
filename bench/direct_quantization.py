"""The strongest rival with data: quantize the network itself while it is distilled, for so many bits per weight.

Learned step sizes (LSQ, Esser et al., 2020), one for each output channel of the 3x3 convolutions, which begin at the
least squared error; Adam at 1e-3, the divergence of the logits, images as the recipe `fast` draws them. Its bytes are
generous to it: the entropy of the integers, steps and everything else in fp16, no names and no file.
"""

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nern_core.losses import logit_divergence
from nern_core.meta_compression.operations import entropy_bits
from nern_core.optim import cosine_decay
from nern_core.precision import mixed_precision
from nern_core.training.images import ImageSource

_LEARNING_RATE = 1e-3
_CANDIDATES = 40


def quantize_directly(
    network: nn.Module, images: ImageSource, bits: int, seconds: float
) -> tuple[dict[str, Tensor], int, int]:
    """Train for so many seconds; returns the tensors that come of it, their bytes, and the number of steps."""
    original = network.state_dict()
    names = [name for name, tensor in original.items() if tensor.ndim == 4]
    weights = {name: original[name].clone().requires_grad_() for name in names}
    scales = {name: _least_squares_steps(original[name], bits).requires_grad_() for name in names}
    optimizer = torch.optim.Adam([*weights.values(), *scales.values()], lr=_LEARNING_RATE)
    started, steps = time.perf_counter(), 0
    while (fraction := (time.perf_counter() - started) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * cosine_decay(fraction)
        inputs = images.draw()
        with mixed_precision(torch.device("cpu")):
            with torch.no_grad():
                expected = network(inputs).float()
            quantized = {name: _quantized(weights[name], scales[name], bits)[0] for name in names}
            logits = functional_call(network, original | quantized, (inputs,)).float()
        logit_divergence(logits, expected).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps += 1
    return *_finished(original, weights, scales, bits), steps


@torch.no_grad()
def _finished(
    original: Mapping[str, Tensor], weights: Mapping[str, Tensor], scales: Mapping[str, Tensor], bits: int
) -> tuple[dict[str, Tensor], int]:
    tensors, taken = {}, 0.0
    for name, tensor in original.items():
        if name in weights:
            tensors[name], integers = _quantized(weights[name], scales[name].half().float(), bits)
            taken += entropy_bits(integers) + 16 * len(integers)
        elif tensor.is_floating_point():
            tensors[name] = tensor.half().float()
            taken += 16 * tensor.numel()
        else:
            tensors[name] = tensor
    return tensors, math.ceil(taken / 8)


def _quantized(weight: Tensor, scale: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The quantized weights, with the gradients of LSQ, and their integers."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    step = scale.abs().view(-1, 1, 1, 1)
    clamped = (weight / step).clamp(low, high)
    integers = clamped.round()
    return (clamped + (integers - clamped).detach()) * step, integers.detach()


def _least_squares_steps(weight: Tensor, bits: int) -> Tensor:
    """The step of each output channel with the least squared error, of some candidates."""
    largest = weight.flatten(1).abs().amax(dim=1)
    best, smallest = largest.clone(), torch.full_like(largest, torch.inf)
    for candidate in range(1, _CANDIDATES + 1):
        steps = largest * (2 * candidate / _CANDIDATES) / 2 ** (bits - 1)
        error = (_quantized(weight, steps, bits)[0] - weight).flatten(1).square().sum(dim=1)
        best, smallest = torch.where(error < smallest, steps, best), torch.minimum(error, smallest)
    return best
