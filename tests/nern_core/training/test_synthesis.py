from dataclasses import replace

import torch
from torch import nn

from nern_core.networks import build_network, find_architecture
from nern_core.recipes.data_free import DATA_FREE
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.training.snapshots import Snapshots
from nern_core.training.synthesis import (
    SynthesisConfig,
    _StatisticsDistance,
    has_statistics,
    natural_noise,
    synthesize,
)
from tests.conftest import EXAMPLE

assert DATA_FREE.synthesis is not None
SETTINGS = replace(DATA_FREE.synthesis, images=32, images_per_batch=32, steps=60)


def digits_network() -> nn.Module:
    return build_network(find_architecture("digits-cnn"), read_checkpoint(EXAMPLE).tensors)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(network: nn.Module, config: SynthesisConfig, seconds: float | None = None) -> torch.Tensor:
    return synthesize(network, config, 8, seconds, seeded(), Snapshots()).images


def test_natural_noise_is_normalized_and_its_power_falls_with_the_square_of_the_frequency() -> None:
    images = natural_noise(200, 32, seeded())
    assert images.shape == (200, 3, 32, 32)
    deviation, mean = torch.std_mean(images, dim=(1, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(200), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(200), atol=1e-5, rtol=0)
    power = torch.fft.rfft2(images).abs().square().mean(dim=(0, 1))
    ratio = float(power[0, 2] / power[0, 8])
    assert 12 < ratio < 20  # (8 / 2) ** 2 = 16


def test_the_distance_is_that_of_means_and_deviations_in_units_of_the_remembered_deviation() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1)).eval()
    network.load_state_dict({"0.running_mean": torch.tensor([1.0]), "0.running_var": torch.tensor([4.0])}, strict=False)
    inputs = torch.tensor([2.0, 8.0]).reshape(2, 1, 1, 1)  # mean 5, variance 9
    with _StatisticsDistance(network) as distance:
        network(inputs)
        value = float(distance.take())
    assert abs(value - ((5 - 1) ** 2 / 4 + (3 / 2 - 1) ** 2)) < 1e-3


def test_synthesized_images_come_nearer_to_the_remembered_statistics_and_to_a_class() -> None:
    network = digits_network()
    start = natural_noise(32, 8, seeded())
    images = images_of(network, SETTINGS)
    assert images.shape == (32, 3, 8, 8)
    with _StatisticsDistance(network) as distance, torch.no_grad():
        unsure = network(start).softmax(dim=1).max(dim=1).values.mean()
        before = distance.take()
        sure = network(images).softmax(dim=1).max(dim=1).values.mean()
        after = distance.take()
    assert after < 0.3 * before
    assert sure > unsure


def test_the_same_seed_makes_the_same_images() -> None:
    network, short = digits_network(), replace(SETTINGS, steps=3)
    assert torch.equal(images_of(network, short), images_of(network, short))


def test_a_budget_that_is_used_up_ends_after_one_batch() -> None:
    settings = replace(SETTINGS, images=96, steps=1)
    assert len(images_of(digits_network(), settings, seconds=1e-9)) == 32
    assert len(images_of(digits_network(), settings)) == 96


def test_a_network_without_batch_normalization_remembers_nothing() -> None:
    assert has_statistics(digits_network())
    assert not has_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)))
