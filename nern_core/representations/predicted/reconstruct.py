"""Reconstruction: fit the predictor to the kernels themselves, without data (paper, section 3.2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nern_core.representations.predicted.predictions import Predictions
from nern_core.representations.predicted.predictor import Predictor
from nern_core.representations.predicted.sampling import SamplingConfig
from nern_core.representations.predicted.targets import Targets
from nern_core.training.clock import Share
from nern_core.training.loss import Batch, Loss
from nern_core.training.losses import root_mean_squared_error, weighted_squared_error
from nern_core.training.optim import OptimizerConfig
from nern_core.training.precision import full_precision, mixed_precision
from nern_core.training.snapshots import State


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconstructionConfig:
    """Settings of the phase. `share` is its part of the budget if other phases follow.

    `loss` is `rmse` over all weights, with gradients only for the sampled kernels (the paper), or the `squared` error
    of the sampled kernels, weighted by the root of their Fisher information on `fisher_images` training images if there
    is data (0: equal weights). `mixed_precision_until` is the fraction of the phase that runs in mixed precision, see
    `precision`.
    """

    share: Share
    optimizer: OptimizerConfig
    sampling: SamplingConfig
    loss: Literal["rmse", "squared"]
    fisher_images: int = 0
    mixed_precision_until: float = 0.0


class ReconstructionLoss(Loss):
    """Compares kernels with their originals. `importance` has a weight for each kernel of each head, (n,)."""

    def __init__(
        self,
        config: ReconstructionConfig,
        predictor: Predictor,
        targets: Targets,
        generator: torch.Generator,
        importance: dict[str, Tensor] | None = None,
    ) -> None:
        self._config = config
        self._targets = targets
        self._importance = importance
        self.predictions = Predictions(config.sampling, predictor, targets, generator)
        self._kernels = {head: target.kernels for head, target in targets.heads.items()}
        self.device = self.predictions.device

    def state(self) -> State:
        """Return the state of the next batches."""
        return self.predictions.state()

    def restore(self, state: State) -> None:
        """Restore a state."""
        self.predictions.restore(state)

    def draw(self, fraction: float) -> Batch:
        """Draw kernels, and decide whether this fraction of the phase is in mixed precision."""
        predictions = self.predictions
        drawn = predictions.draw_for_all() if self._config.loss == "rmse" else predictions.draw_batch()
        return Batch(tensors={"kernels": drawn}, settings=(fraction < self._config.mixed_precision_until,))

    def compute(self, batch: Batch) -> Tensor:
        """Return the scalar loss of these kernels."""
        drawn, (mixed,) = batch.tensors["kernels"], batch.settings
        with mixed_precision(self.device) if mixed else full_precision(self.device):
            if self._config.loss == "rmse":
                return root_mean_squared_error(self.predictions.of_all(drawn), self._kernels)
            predicted = self.predictions.of_batch(drawn)
        losses = [
            weighted_squared_error(
                predictions,
                self._kernels[head][indices],
                None if self._importance is None else self._importance[head][indices],
            )
            * (len(self._kernels[head]) / self._targets.kernels)
            for head, (indices, predictions) in predicted.items()
        ]
        return torch.stack(losses).sum()
