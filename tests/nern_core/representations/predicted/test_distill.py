from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nern_core.contract.options import Permutation
from nern_core.networks import build_network, find_architecture
from nern_core.networks.datasets import read_image_set
from nern_core.representations.predicted.distill import DistillationConfig, DistillationLoss, FeatureMaps, LossTerm
from nern_core.representations.predicted.predictions import Predictions
from nern_core.representations.predicted.predictor import Predictor, PredictorConfig
from nern_core.representations.predicted.sampling import SamplingConfig
from nern_core.representations.predicted.targets import make_targets, to_weights
from nern_core.tensors.kernels import select_layers
from nern_core.training.clock import Share
from nern_core.training.images import NoiseImages, StoredImages
from nern_core.training.optim import OptimizerConfig
from nern_core.training.teacher import Teacher

OFF, ON = LossTerm(weight=0.0), LossTerm(weight=1.0)
CONFIG = DistillationConfig(
    share=Share(seconds=1.0, steps=1.0),
    optimizer=OptimizerConfig(name="muon", learning_rate=0.01),
    sampling=SamplingConfig(kind="all"),
)
EACH_ALONE = {
    "exact": {},
    "exact, warm": {"temperature": 4.0},
    "published": {"logit_distance": "published"},
    "published, warm": {"logit_distance": "published", "temperature": 4.0},
    "squared": {"logit_distance": "squared"},
    "features": {"logits": OFF, "features": ON},
    "reconstruction": {"logits": OFF, "reconstruction": ON},
}


def setup(
    config: DistillationConfig, dataset: Path, stronger: nn.Module | None = None
) -> tuple[DistillationLoss, Predictor]:
    torch.manual_seed(0)
    architecture = find_architecture("digits-cnn")
    tensors = architecture.build(10).state_dict()
    layers = select_layers(tensors)
    targets = make_targets(tensors, layers, Permutation.CROSS_FILTER, scaled=True)
    predictor = Predictor(PredictorConfig(hidden_size=16), layers)
    teacher = Teacher(
        network=build_network(architecture, tensors),
        preprocessing=architecture.preprocessing,
        images=read_image_set(dataset, "train"),
        stronger=stronger,
    )
    assert teacher.images is not None
    generator = torch.Generator().manual_seed(0)
    predictions = Predictions(config.sampling, predictor, targets, generator)
    images = StoredImages(teacher.images.images, teacher.image_preprocessing, 8, generator, torch.device("cpu"))
    return DistillationLoss(config, predictions, targets, teacher, images), predictor


@pytest.mark.parametrize("changes", list(EACH_ALONE.values()), ids=list(EACH_ALONE))
def test_every_loss_alone_reaches_every_parameter_of_the_predictor(
    random_dataset: Path, changes: dict[str, Any]
) -> None:
    loss, predictor = setup(replace(CONFIG, **changes), random_dataset)
    loss(0.0).backward()
    for name, parameter in predictor.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.norm()) > 0, name


def test_the_predictor_computes_in_float32_though_the_networks_do_not(
    random_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nern_core.training.precision.has_bfloat16_units", lambda device: True)
    loss, predictor = setup(CONFIG, random_dataset)
    computed: dict[str, set[torch.dtype]] = {"predictor": set(), "network": set()}
    predictor.hidden[0].register_forward_hook(lambda module, inputs, output: computed["predictor"].add(output.dtype))
    network_layer = next(module for module in loss.teacher.network.modules() if isinstance(module, nn.Conv2d))
    network_layer.register_forward_hook(lambda module, inputs, output: computed["network"].add(output.dtype))
    loss(0.0).backward()
    assert computed == {"predictor": {torch.float32}, "network": {torch.bfloat16}}


@contextmanager
def weights_copied_in(network: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Overwrite the parameters, the simple way, and restore them."""
    saved = {name: network.get_parameter(name).clone() for name in weights}
    with torch.no_grad():
        for name, weight in weights.items():
            network.get_parameter(name).copy_(weight)
        yield
        for name, weight in saved.items():
            network.get_parameter(name).copy_(weight)


def expected_terms(dataset: Path) -> tuple[float, float, float]:
    """Compute the logit, feature and reconstruction terms of the first step, with copied weights and numpy."""
    loss, predictor = setup(CONFIG, dataset)
    network, targets = loss.teacher.network, loss.targets
    assert isinstance(network.get_submodule("features"), nn.Sequential)
    generator = torch.Generator().manual_seed(0)
    images = read_image_set(dataset, "train")
    inputs = StoredImages(images.images, loss.teacher.image_preprocessing, 8, generator, torch.device("cpu")).draw()
    with torch.no_grad():
        kernels = predictor.at(targets.heads["3x3"].coordinates, "3x3")
        outputs = []
        for weights in ({}, to_weights({"3x3": kernels}, targets)):
            with weights_copied_in(network, weights):
                maps, x = [], inputs
                for layer in network.get_submodule("features").children():
                    x = layer(x)
                    if isinstance(layer, nn.Conv2d):
                        maps.append(x.clone().flatten(1).double().numpy())
                outputs.append((network(inputs).double().numpy(), maps))
    (teacher, teacher_maps), (student, student_maps) = outputs
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (teacher, student))
    divergence = (p * np.log(p / q)).sum() / len(p)
    features = 0.0
    for t, s in zip(teacher_maps, student_maps, strict=True):
        for one, other in zip(t, s, strict=True):
            difference = one / (np.linalg.norm(one) + 1e-3) - other / (np.linalg.norm(other) + 1e-3)
            features += float((difference**2).sum()) / len(t)
    error = (kernels - targets.heads["3x3"].kernels).double().numpy()
    return float(divergence), features, float(np.sqrt((error**2).mean()))


@pytest.fixture
def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable bfloat16, so that numbers can be compared."""
    monkeypatch.setattr("nern_core.training.precision.has_bfloat16_units", lambda device: False)


@pytest.mark.usefixtures("exact_products")
def test_the_terms_are_those_of_the_network_with_the_weights_copied_in(random_dataset: Path) -> None:
    expected = expected_terms(random_dataset)
    weights = (0.5, 2.0, 3.0)
    terms = [LossTerm(weight=weight) for weight in weights]
    config = replace(CONFIG, logits=terms[0], features=terms[1], reconstruction=terms[2])
    found = float(setup(config, random_dataset)[0](0.0).detach())
    assert found == pytest.approx(sum(w * e for w, e in zip(weights, expected, strict=True)), rel=1e-4)


@pytest.mark.usefixtures("exact_products")
def test_before_its_warm_up_has_passed_a_term_does_not_count(random_dataset: Path) -> None:
    late = LossTerm(weight=1.0, warm_up=0.5)
    loss, _ = setup(replace(CONFIG, logits=late, features=late, reconstruction=ON), random_dataset)
    divergence, features, error = expected_terms(random_dataset)
    assert float(loss(0.49).detach()) == pytest.approx(error, rel=1e-4)
    assert float(loss(0.5).detach()) == pytest.approx(error + divergence + features, rel=1e-4)


def test_some_term_counts_from_the_start() -> None:
    with pytest.raises(ValueError, match="must have a weight from the start"):
        replace(CONFIG, logits=LossTerm(weight=1.0, warm_up=0.1))


def test_the_network_itself_gets_no_gradient(random_dataset: Path) -> None:
    loss, _ = setup(CONFIG, random_dataset)
    loss(0.0).backward()
    assert all(parameter.grad is None for parameter in loss.teacher.network.parameters())


class Constant(nn.Module):
    """A network that always predicts class 3 with confidence."""

    def forward(self, x: Tensor) -> Tensor:
        return 1000 * F.one_hot(torch.tensor([3] * len(x)), 10).float()


def test_a_stronger_teacher_gives_the_logits_instead_of_the_original(random_dataset: Path) -> None:
    loss, predictor = setup(replace(CONFIG, logit_distance="squared"), random_dataset, stronger=Constant())
    (gradient,) = torch.autograd.grad(loss(0.0), predictor.get_parameter("heads.3x3.bias"))
    assert float(loss(0.0).detach()) == pytest.approx(1000**2 / 10, rel=0.05)
    assert float(gradient.norm()) > 0


def test_only_sampled_kernels_pass_gradients_on_but_all_are_predicted(random_dataset: Path) -> None:
    config = replace(CONFIG, sampling=SamplingConfig(kind="uniform", kernels_per_step=64))
    loss, predictor = setup(config, random_dataset)
    kernels = loss.predictions.of_all(loss.predictions.draw_for_all())["3x3"]
    (gradient,) = torch.autograd.grad(kernels.sum(), predictor.get_parameter("heads.3x3.bias"))
    # Each distinct sampled kernel adds 1 to every output's bias.
    assert 0 < float(gradient[0]) <= 64
    with torch.no_grad():
        everything = Predictions(CONFIG.sampling, predictor, loss.targets, torch.Generator()).of_all(())["3x3"]
    torch.testing.assert_close(kernels.detach(), everything)


def test_noise_is_uniform_between_minus_two_and_two() -> None:
    noise = NoiseImages(16, 64, torch.Generator().manual_seed(0), torch.device("cpu")).draw()
    assert noise.shape == (64, 3, 16, 16)
    values = noise.flatten().double().numpy()
    histogram, _ = np.histogram(values, bins=8, range=(-2, 2))
    assert histogram.sum() == len(values) == 49_152
    assert np.abs(histogram - 6144).max() < 6 * np.sqrt(49_152 / 8 * 7 / 8)


class InPlace(nn.Module):
    """A convolution whose output is overwritten twice."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.convolution(x), inplace=True).mul_(2)


def test_feature_maps_are_those_before_an_operation_in_place() -> None:
    torch.manual_seed(0)
    network, x = InPlace().requires_grad_(requires_grad=False), torch.randn(2, 3, 6, 6)
    with FeatureMaps([network.convolution]) as maps:
        network(x)
        (found,) = maps.take()
    torch.testing.assert_close(found, F.conv2d(x, network.convolution.weight, network.convolution.bias))
    assert float(found.min()) < 0


def test_feature_maps_of_a_torchvision_resnet_are_its_pre_activation_maps() -> None:
    torch.manual_seed(0)
    network: Any = build_network(
        find_architecture("torchvision:resnet18"), find_architecture("torchvision:resnet18").build(10).state_dict()
    )
    x = torch.randn(2, 3, 32, 32)
    block = network.layer1[0]
    assert block.relu.inplace
    convolutions = [network.conv1, block.conv1, block.conv2, network.layer1[1].conv1]
    with torch.no_grad(), FeatureMaps(convolutions) as maps:
        network(x)
        found = maps.take()

        def normalized(maps: Tensor, norm: Any) -> Tensor:
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            shift = norm.bias - norm.running_mean * scale
            result: Tensor = maps * scale[:, None, None] + shift[:, None, None]
            return result

        stem = F.conv2d(x, network.conv1.weight, stride=2, padding=3)
        pooled = F.max_pool2d(normalized(stem, network.bn1).clamp(min=0), 3, stride=2, padding=1)
        first = F.conv2d(pooled, block.conv1.weight, padding=1)
        second = F.conv2d(normalized(first, block.bn1).clamp(min=0), block.conv2.weight, padding=1)
        joined = (normalized(second, block.bn2) + pooled).clamp(min=0)
        third = F.conv2d(joined, network.layer1[1].conv1.weight, padding=1)
    for one, other in zip(found, (stem, first, second, third), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_hooks_are_gone_afterwards() -> None:
    network = InPlace()
    with FeatureMaps([network.convolution]):
        pass
    assert not network.convolution._forward_hooks
