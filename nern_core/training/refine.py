"""Refinement: reconstruction weighted by the curvature of the network's loss.

The quadratic form of `nern_core.curvature` tells which combinations of weight errors change the
network's outputs. Fitting it is as cheap as reconstruction, needs no pass through the network, and
brings the predictor close to where distillation would bring it in many times the time.
"""

from dataclasses import dataclass

from torch import Tensor

from nern_core.curvature import Curvature, quadratic_loss
from nern_core.optim import OptimizerConfig
from nern_core.precision import mixed_precision
from nern_core.targets import Targets, to_weights
from nern_core.training.clock import Share
from nern_core.training.predictions import Predictions


@dataclass(frozen=True, kw_only=True, slots=True)
class RefinementConfig:
    """Settings of the phase. `images` is how many images the curvature is estimated on."""

    share: Share
    optimizer: OptimizerConfig
    images: int


class RefinementLoss:
    """Predicts all kernels and returns twice the expected increase of the network's loss, in nats."""

    def __init__(
        self, predictions: Predictions, targets: Targets, weights: dict[str, Tensor], curvature: dict[str, Curvature]
    ) -> None:
        self._predictions = predictions
        self._targets = targets
        self._weights = weights
        self._curvature = curvature
        self._device = next(iter(weights.values())).device

    def __call__(self) -> Tensor:
        """Scalar loss, the same for every call but for the predictor's parameters."""
        with mixed_precision(self._device):
            kernels = self._predictions.of_all()
        return quadratic_loss(to_weights(kernels, self._targets), self._weights, self._curvature)
