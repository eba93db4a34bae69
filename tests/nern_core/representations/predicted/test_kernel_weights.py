import pytest
import torch

from nern_core.contract.options import Permutation
from nern_core.networks import build_network, find_architecture
from nern_core.networks.datasets import read_image_set
from nern_core.networks.fisher import kernel_fisher
from nern_core.representations.predicted.kernel_weights import _augmented_batches, kernel_weights
from nern_core.representations.predicted.targets import Targets, make_targets
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.tensors.kernels import select_layers
from nern_core.training.teacher import Teacher
from tests.conftest import DIGITS, EXAMPLE

ARCHITECTURE = find_architecture("digits-cnn")
TENSORS = read_checkpoint(EXAMPLE).tensors


def teacher() -> Teacher:
    images = read_image_set(DIGITS, "train")
    network = build_network(ARCHITECTURE, TENSORS)
    return Teacher(network=network, preprocessing=ARCHITECTURE.preprocessing, images=images)


def targets(permutation: Permutation) -> Targets:
    return make_targets(TENSORS, select_layers(TENSORS), permutation, scaled=True, distilled=True)


def batch_sizes(count: int, seconds: float | None) -> list[int]:
    images = read_image_set(DIGITS, "train")
    generator = torch.Generator().manual_seed(0)
    batches = _augmented_batches(count, images, ARCHITECTURE.preprocessing, seconds, generator)
    return [len(batch) for batch in batches]


def test_the_fisher_information_is_estimated_on_as_many_images_as_the_recipe_says() -> None:
    assert batch_sizes(150, seconds=None) == batch_sizes(150, seconds=600) == [64, 64, 22]


def test_of_a_short_budget_the_fisher_information_takes_a_small_part_only() -> None:
    assert batch_sizes(150, seconds=1e-6) == [64]


def test_weights_are_the_roots_of_the_fisher_information_with_mean_one_in_coordinate_order() -> None:
    goal, subject = targets(Permutation.CROSS_FILTER), teacher()
    weights = kernel_weights(64, goal, subject, None, torch.Generator().manual_seed(0))
    assert weights is not None
    assert subject.images is not None
    generator = torch.Generator().manual_seed(0)
    batches = _augmented_batches(64, subject.images, subject.image_preprocessing, None, generator)
    fisher = kernel_fisher(subject.network, batches, goal.layers, generator)
    roots = [fisher[layer.name].flatten().sqrt()[goal.orders[i]] for i, layer in enumerate(goal.layers)]
    expected = torch.cat(roots)
    assert float(weights["3x3"].mean()) == pytest.approx(1, rel=1e-5)
    torch.testing.assert_close(weights["3x3"], expected / expected.mean())


def test_without_images_there_are_no_weights() -> None:
    blind = Teacher(network=teacher().network, preprocessing=ARCHITECTURE.preprocessing, images=None)
    assert kernel_weights(64, targets(Permutation.NONE), blind, None, torch.Generator()) is None
    assert kernel_weights(64, targets(Permutation.NONE), None, None, torch.Generator()) is None
    assert kernel_weights(0, targets(Permutation.NONE), teacher(), None, torch.Generator()) is None
