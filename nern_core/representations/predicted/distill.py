"""Distillation: train the predictor through the network with its predicted weights (paper, section 3.2).

The original network is the teacher. The network with predicted weights must reproduce its outputs, and optionally its
feature maps. Labels are not used.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Literal, Self

import torch
from torch import Tensor, nn

from nern_core.representations.predicted.predictions import Predictions
from nern_core.representations.predicted.sampling import SamplingConfig
from nern_core.representations.predicted.targets import Targets, to_weights
from nern_core.training.clock import Share
from nern_core.training.input_source import InputSource
from nern_core.training.loss import Batch, Loss
from nern_core.training.losses import (
    feature_distance,
    logit_divergence,
    published_logit_divergence,
    root_mean_squared_error,
    squared_logit_error,
)
from nern_core.training.optim import OptimizerConfig
from nern_core.training.precision import full_precision, mixed_precision
from nern_core.training.snapshots import State
from nern_core.training.student import Student
from nern_core.training.teacher import Teacher


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerm:
    """A summand of the loss: its weight, which is zero before the fraction `warm_up` of the phase."""

    weight: float
    warm_up: float = 0.0

    def at(self, fraction: float) -> float:
        """Return the weight at this fraction of the phase."""
        return self.weight if fraction >= self.warm_up else 0.0


_NOTHING = LossTerm(weight=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillationConfig:
    """Settings of the phase: its part of the budget, its kernels and its loss.

    `logit_distance` is the exact KL divergence, the published one, or the `squared` difference, which has no
    temperature. At every fraction of the phase at least one term must have a weight. `refresh` selects
    the kernels that each step predicts again, see `Predictions`.
    """

    share: Share
    optimizer: OptimizerConfig
    sampling: SamplingConfig
    refresh: Literal["all", "sampled"] = "all"
    logits: LossTerm = LossTerm(weight=1.0)
    logit_distance: Literal["exact", "published", "squared"] = "exact"
    temperature: float = 1.0
    features: LossTerm = _NOTHING
    reconstruction: LossTerm = _NOTHING

    def __post_init__(self) -> None:
        if not any(term.at(0.0) for term in (self.logits, self.features, self.reconstruction)):
            raise ValueError("at least one term of the loss must have a weight from the start")
        if self.logit_distance == "squared" and self.temperature != 1.0:
            raise ValueError("the squared difference of logits has no temperature")


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights of the terms, at one fraction of the phase."""

    logits: float
    features: float
    reconstruction: float

    @property
    def of_networks(self) -> bool:
        """Return True if the networks are compared at all."""
        return bool(self.logits or self.features)


@dataclass(frozen=True, slots=True)
class _Outputs:
    """A network's outputs for a batch: logits float32 (n, classes), and the maps of each represented layer."""

    logits: Tensor
    maps: list[Tensor]


class DistillationLoss(Loss):
    """Draws images, predicts the weights and compares the two networks."""

    def __init__(
        self,
        config: DistillationConfig,
        predictions: Predictions,
        targets: Targets,
        teacher: Teacher,
        images: InputSource,
    ) -> None:
        self._config = config
        self.predictions = predictions
        self.targets = targets
        self.teacher = teacher
        self.device = teacher.device
        self._images = images
        self._student = Student(teacher.network, reader=teacher.reader, batches=teacher.batches)
        self._modules = tuple(
            dict.fromkeys(teacher.network.get_submodule(layer.name.rpartition(".")[0]) for layer in targets.layers)
        )
        self._logit_distance = _logit_distance(config)

    def state(self) -> State:
        """Return the state of the next batches."""
        return self.predictions.state()

    def restore(self, state: State) -> None:
        """Restore a state."""
        self.predictions.restore(state)

    def draw(self, fraction: float) -> Batch:
        """Draw images and kernels, and compute the weights of the terms at this fraction of the phase."""
        config = self._config
        weights = _Weights(*(term.at(fraction) for term in (config.logits, config.features, config.reconstruction)))
        images = self._images.choose() if weights.of_networks else ()
        return Batch(tensors={"images": images, "kernels": self.predictions.draw_for_all()}, settings=(weights,))

    def compute(self, batch: Batch) -> Tensor:
        """Return the scalar loss of these images; terms of weight zero are not computed."""
        (weights,) = batch.settings
        assert isinstance(weights, _Weights)
        logits, features, anchor = weights.logits, weights.features, weights.reconstruction
        terms = []
        if weights.of_networks:
            kernels, student, teacher = self._compare(batch, with_maps=bool(features))
            if logits:
                terms.append(logits * self._logit_distance(student.logits, teacher.logits))
            if features:
                terms.append(features * feature_distance(student.maps, teacher.maps))
        else:
            kernels = self.predictions.of_all(batch.tensors["kernels"])
        if anchor:
            originals = {head: target.kernels for head, target in self.targets.heads.items()}
            terms.append(anchor * root_mean_squared_error(kernels, originals))
        return torch.stack(terms).sum()

    def _compare(self, batch: Batch, *, with_maps: bool) -> tuple[dict[str, Tensor], _Outputs, _Outputs]:
        """Return all predicted kernels by head, and the outputs of student and teacher for a batch."""
        inputs = self._images.inputs(*batch.tensors["images"])
        with FeatureMaps(self._modules if with_maps else ()) as maps, mixed_precision(self.device):
            teacher = _Outputs(self.teacher.logits(inputs), maps.take())
            with full_precision(self.device):
                kernels = self.predictions.of_all(batch.tensors["kernels"])
                weights = to_weights(kernels, self.targets)
            student = _Outputs(self._student.logits(weights, inputs), maps.take())
        return kernels, student, teacher


def _logit_distance(config: DistillationConfig) -> Callable[[Tensor, Tensor], Tensor]:
    match config.logit_distance:
        case "exact":
            return partial(logit_divergence, temperature=config.temperature)
        case "published":
            return partial(published_logit_divergence, temperature=config.temperature)
        case "squared":
            return squared_logit_error


class FeatureMaps(AbstractContextManager["FeatureMaps"]):
    """Collects the outputs of modules, by forward hooks, while the context is open.

    For convolutions, these are the maps before normalization and activation, copied, so that later in-place operations
    of the network do not change them.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._maps: list[Tensor] = []
        self._modules = tuple(modules)
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        self._handles = [module.register_forward_hook(self._collect) for module in self._modules]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _collect(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        # Attention modules return their weights in addition to their output.
        tensor = output if isinstance(output, Tensor) else output[0]
        self._maps.append(tensor.float().clone())

    def take(self) -> list[Tensor]:
        """Return the maps since the last call, float32, in the order of the forward pass."""
        maps, self._maps = self._maps, []
        return maps
