from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nern_core.datasets import read_image_set
from nern_core.kernels import select_layers
from nern_core.optim import OptimizerConfig
from nern_core.options import Permutation
from nern_core.predictor import Predictor, PredictorConfig
from nern_core.sampling import SamplingConfig
from nern_core.targets import make_targets
from nern_core.training.clock import Share
from nern_core.training.distill import DistillationConfig, DistillationLoss, Teacher
from nern_core.training.predictions import Predictions
from nern_core.zoo import build_network, find_architecture

SILENT = DistillationConfig(
    share=Share(seconds=1.0, steps=1.0),
    optimizer=OptimizerConfig(name="muon", learning_rate=0.01),
    sampling=SamplingConfig(kind="uniform", kernels_per_step=10**6),
    images_per_step=8,
    logit_weight=0.0,
)


def setup(config: DistillationConfig, dataset: Path) -> tuple[DistillationLoss, Predictor]:
    torch.manual_seed(0)
    architecture = find_architecture("digits-cnn")
    tensors = architecture.build(10).state_dict()
    layers = select_layers(tensors)
    targets = make_targets(tensors, layers, Permutation.CROSS_FILTER, scaled=True)
    predictor = Predictor(PredictorConfig(hidden_size=16), layers)
    images = read_image_set(dataset, "train")
    teacher = Teacher(build_network(architecture, tensors), images, architecture.preprocessing)
    generator = torch.Generator().manual_seed(0)
    predictions = Predictions(config.sampling, predictor, targets, generator)
    return DistillationLoss(config, predictions, targets, teacher, generator), predictor


@pytest.mark.parametrize("weight", ["logit_weight", "feature_weight", "reconstruction_weight"])
@pytest.mark.parametrize("divergence", ["exact", "published"])
def test_every_loss_alone_reaches_every_parameter_of_the_predictor(
    random_dataset: Path, weight: str, divergence: str
) -> None:
    changes: dict[str, Any] = {"divergence": divergence, weight: 1.0}
    config = replace(SILENT, **changes)
    loss, predictor = setup(config, random_dataset)
    loss().backward()
    for name, parameter in predictor.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.norm()) > 0, name


def test_the_network_itself_gets_no_gradient(random_dataset: Path) -> None:
    loss, _ = setup(replace(SILENT, logit_weight=1.0), random_dataset)
    loss().backward()
    assert all(parameter.grad is None for parameter in loss.teacher.network.parameters())


def test_only_sampled_kernels_pass_gradients_on_but_all_are_predicted(random_dataset: Path) -> None:
    config = replace(SILENT, sampling=SamplingConfig(kind="uniform", kernels_per_step=64))
    loss, predictor = setup(config, random_dataset)
    kernels = loss.predictions.of_all()["3x3"]
    (gradient,) = torch.autograd.grad(kernels.sum(), predictor.get_parameter("heads.3x3.bias"))
    # Each distinct sampled kernel adds 1 to every output's bias.
    assert 0 < float(gradient[0]) <= 64
    with torch.no_grad():
        everything = Predictions(SILENT.sampling, predictor, loss.targets, torch.Generator()).of_all()["3x3"]
    torch.testing.assert_close(kernels.detach(), everything)
