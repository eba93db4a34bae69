"""Distillation: train the predictor through the network that its weights make up (paper, section 3.2).

The original network is the teacher. Its outputs, and optionally its feature maps, on training images
are what the network with predicted weights must reproduce. Labels are not used.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nern_core.datasets import ImageSet, augment, to_inputs
from nern_core.losses import (
    feature_distance,
    logit_divergence,
    published_logit_divergence,
    root_mean_squared_error,
)
from nern_core.optim import OptimizerConfig
from nern_core.precision import mixed_precision
from nern_core.sampling import SamplingConfig
from nern_core.targets import Targets, to_weights
from nern_core.training.clock import Share
from nern_core.training.predictions import Predictions
from nern_core.zoo import Preprocessing


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillationConfig:
    """Settings of the phase: its part of the budget, its batches and the weights of its losses."""

    share: Share
    optimizer: OptimizerConfig
    sampling: SamplingConfig
    images_per_step: int
    divergence: Literal["exact", "published"] = "exact"
    logit_weight: float = 1.0
    feature_weight: float = 0.0
    reconstruction_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Teacher:
    """The original network, in evaluation mode and frozen, with the images that it teaches on."""

    network: nn.Module
    images: ImageSet
    preprocessing: Preprocessing


class DistillationLoss:
    """Draws images, predicts the weights and compares the two networks' outputs."""

    def __init__(
        self,
        config: DistillationConfig,
        predictions: Predictions,
        targets: Targets,
        teacher: Teacher,
        generator: torch.Generator,
    ) -> None:
        self._config = config
        self.predictions = predictions
        self.targets = targets
        self.teacher = teacher
        self._generator = generator
        self._state = dict(teacher.network.state_dict())
        self._weights = {layer.name: self._state[layer.name] for layer in targets.layers}
        self._device = next(iter(self._weights.values())).device

    def __call__(self) -> Tensor:
        """Scalar loss of a new batch of images."""
        config, network = self._config, self.teacher.network
        inputs = self._draw_inputs()
        with _FeatureMaps(network, self._weights, wanted=config.feature_weight > 0) as maps:
            with mixed_precision(self._device):
                with torch.no_grad():
                    teacher_logits = network(inputs).float()
                teacher_maps = maps.take()
                kernels = self.predictions.of_all()
                weights = to_weights(kernels, self.targets)
                student_logits = functional_call(network, self._state | weights, (inputs,), strict=True).float()
            student_maps = maps.take()
        divergence = logit_divergence if config.divergence == "exact" else published_logit_divergence
        loss = config.logit_weight * divergence(student_logits, teacher_logits)
        if config.feature_weight:
            loss = loss + config.feature_weight * feature_distance(student_maps, teacher_maps)
        if config.reconstruction_weight:
            originals = {head: target.kernels for head, target in self.targets.heads.items()}
            loss = loss + config.reconstruction_weight * root_mean_squared_error(kernels, originals)
        return loss

    def _draw_inputs(self) -> Tensor:
        images, preprocessing = self.teacher.images, self.teacher.preprocessing
        chosen = torch.randint(len(images), (self._config.images_per_step,), generator=self._generator)
        return to_inputs(augment(images.images[chosen], preprocessing, self._generator).to(self._device), preprocessing)


class _FeatureMaps(AbstractContextManager["_FeatureMaps"]):
    """Collects the outputs of the layers whose weights are predicted, by forward hooks.

    These are the maps before normalization and activation, copied, so that in-place operations of the
    network do not change them afterwards.
    """

    def __init__(self, network: nn.Module, weights: Mapping[str, Tensor], *, wanted: bool) -> None:
        self._maps: list[Tensor] = []
        self._modules = [network.get_submodule(name.rpartition(".")[0]) for name in weights] if wanted else []
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        self._handles = [module.register_forward_hook(self._collect) for module in self._modules]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _collect(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._maps.append(output.float().clone())

    def take(self) -> list[Tensor]:
        """The maps since the last call, in the order of the forward pass."""
        maps, self._maps = self._maps, []
        return maps
