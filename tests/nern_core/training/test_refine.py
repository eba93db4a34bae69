import pytest
import torch

from nern_core.curvature import Curvature
from nern_core.optim import OptimizerConfig, Optimizers
from nern_core.predictor import Predictor
from nern_core.sampling import SamplingConfig
from nern_core.targets import Targets, to_weights
from nern_core.training.clock import Budget, Clock
from nern_core.training.loop import train
from nern_core.training.predictions import Predictions
from nern_core.training.refine import RefinementLoss

ALL = SamplingConfig(kind="uniform", kernels_per_step=10**6)


def loss_of(predictor: Predictor, targets: Targets, sensitive: int) -> tuple[RefinementLoss, dict[str, torch.Tensor]]:
    """A network whose loss depends on one input of layer `b` alone."""
    weights = to_weights({head: target.kernels for head, target in targets.heads.items()}, targets)
    inputs = torch.zeros(1, 36, 36)
    inputs[0, sensitive, sensitive] = 1.0
    curvature = {"b": Curvature(inputs, torch.eye(5)[None], torch.ones(5, 4))}
    predictions = Predictions(ALL, predictor, targets, torch.Generator())
    return RefinementLoss(predictions, targets, weights, curvature), weights


def test_fits_what_the_network_is_sensitive_to(predictor: Predictor, targets: Targets) -> None:
    loss, weights = loss_of(predictor, targets, sensitive=7)
    config = OptimizerConfig(name="muon", learning_rate=0.02, bias_learning_rate=1e-3)
    train(loss, Optimizers(config, predictor), Clock(Budget(steps=150)), (0.0, 1.0), lambda _: None)
    predicted = to_weights(Predictions(ALL, predictor, targets, torch.Generator()).of_all(), targets)["b"].detach()
    errors = (predicted - weights["b"]).flatten(1).square().mean(dim=0)
    assert float(errors[7]) < 0.02 * float(errors.mean())


def test_the_loss_is_the_quadratic_form_of_the_errors(predictor: Predictor, targets: Targets) -> None:
    loss, weights = loss_of(predictor, targets, sensitive=7)
    predicted = to_weights(Predictions(ALL, predictor, targets, torch.Generator()).of_all(), targets)["b"]
    expected = (predicted - weights["b"]).flatten(1)[:, 7].square().sum()
    assert float(loss().detach()) == pytest.approx(float(expected.detach()), rel=0.05)
