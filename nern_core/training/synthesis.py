"""Images made from the network alone: inputs with the batch normalization statistics of its training images.

Published data-free distillation draws uniform noise, which is unlike anything the network has seen, so its answers are
meaningless. Batch normalization stores the mean and the variance of every feature map over the training images. Noise
that is optimized until its feature maps have these statistics, and until the network is certain of a class, can replace
the images (the idea of DeepInversion, Yin et al., 2020).
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nern_core.training.clock import Budget, Clock
from nern_core.training.images import images_per_batch
from nern_core.training.precision import mixed_precision
from nern_core.training.snapshots import Snapshots, State

# About the ratio of the amplitudes of chrominance and luminance in natural images.
_CHROMINANCE = 0.5
_LARGEST_SHIFT = 1 / 16
_SMALLEST_VARIANCE = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthesisConfig:
    """The number of images, Adam's settings for each batch, and the weight of the classification loss.

    `share` limits the part of a budget in seconds; it may reduce the images, but at least one batch is made.
    """

    images: int
    images_per_batch: int
    steps: int
    learning_rate: float
    class_weight: float
    share: float


def has_statistics(network: nn.Module) -> bool:
    """Return True if the network has batch normalizations with running statistics."""
    return bool(_normalizations(network))


@dataclass(frozen=True, slots=True)
class Synthesized:
    """Normalized inputs, float32 (n, 3, H, W), and the seconds that synthesis took."""

    images: Tensor
    seconds: float


def synthesize(
    network: nn.Module,
    config: SynthesisConfig,
    input_size: int,
    seconds: float | None,
    generator: torch.Generator,
    snapshots: Snapshots,
) -> Synthesized:
    """Make inputs for a network in evaluation mode; `seconds` is the whole budget.

    The network must have running statistics, see `has_statistics`. Raises `Interrupted` when the snapshots request it.
    """
    device = next(network.parameters()).device
    count = images_per_batch(config.images_per_batch, input_size, device)
    batches = _Batches()
    # A step is a batch; the clock is unlimited if the budget is.
    clock = Clock(Budget(seconds=math.inf if seconds is None else config.share * seconds))
    stage = snapshots.stage({"batches": batches, "clock": clock})
    while len(batches.made) * count < config.images and not clock.finished:
        start = natural_noise(count, input_size, generator).to(device, memory_format=torch.channels_last)
        batches.made.append(_match_statistics(network, start, config, generator))
        clock.tick()
        stage.step_done()
    stage.save()
    return Synthesized(torch.cat([batch.to(device) for batch in batches.made])[: config.images], clock.elapsed)


class _Batches:
    """The batches made so far."""

    def __init__(self) -> None:
        self.made: list[Tensor] = []

    def state(self) -> State:
        return self.made

    def restore(self, state: State) -> None:
        self.made = state


def natural_noise(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw noise with the 1/f spectrum of natural images, mean 0 and variance 1 per image, (n, 3, size, size)."""
    vertical, horizontal = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    frequency = (vertical.square() + horizontal.square()).sqrt().clamp(min=1 / size)
    luminance = torch.randn(count, 1, size, size, generator=generator)
    noise = luminance + _CHROMINANCE * torch.randn(count, 3, size, size, generator=generator)
    images = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency, s=(size, size))
    deviation, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)
    normalized: Tensor = (images - mean) / deviation
    return normalized


def _match_statistics(network: nn.Module, start: Tensor, config: SynthesisConfig, generator: torch.Generator) -> Tensor:
    """Optimize a batch until its feature maps have the network's stored statistics."""
    images = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([images], lr=config.learning_rate, betas=(0.5, 0.9))
    classes: Tensor | None = None
    with _StatisticsDistance(network) as distance:
        for step in range(config.steps):
            optimizer.param_groups[0]["lr"] = config.learning_rate * (1 + math.cos(math.pi * step / config.steps)) / 2
            with mixed_precision(images.device):
                logits = network(_moved(images, generator)).float()
            if classes is None:
                classes = torch.randint(logits.shape[1], (len(images),), generator=generator).to(images.device)
            loss = distance.take() + config.class_weight * F.cross_entropy(logits, classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return images.detach()


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift and perhaps mirror the batch, so that no image depends on exact positions."""
    largest = max(1, round(_LARGEST_SHIFT * images.shape[-1]))
    shifts = torch.randint(-largest, largest + 1, (2,), generator=generator).tolist()
    moved = images.roll(shifts, (2, 3))
    return moved.flip(3) if torch.rand((), generator=generator).item() < 0.5 else moved


class _StatisticsDistance:
    """Collects, by forward hooks, the distance of batch normalizations' inputs from the stored statistics."""

    def __init__(self, network: nn.Module) -> None:
        self._modules = _normalizations(network)
        self._terms: list[Tensor] = []
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        self._handles = [module.register_forward_pre_hook(self._collect) for module in self._modules]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _collect(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        remembered_mean, remembered_variance = _statistics(module)
        axes = [0, *range(2, inputs[0].ndim)]
        variance, mean = torch.var_mean(inputs[0].float(), dim=axes, correction=0)
        mean_distance = ((mean - remembered_mean).square() / remembered_variance).mean()
        deviation = ((variance + _SMALLEST_VARIANCE) / remembered_variance).sqrt()
        self._terms.append(mean_distance + (deviation - 1).square().mean())

    def take(self) -> Tensor:
        """Return the mean over the normalizations since the last call, in units of the stored deviations; a scalar."""
        terms, self._terms = self._terms, []
        return torch.stack(terms).mean()


def _statistics(module: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert module.running_mean is not None
    assert module.running_var is not None
    return module.running_mean, module.running_var + _SMALLEST_VARIANCE


def _normalizations(network: nn.Module) -> list[_BatchNorm]:
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
