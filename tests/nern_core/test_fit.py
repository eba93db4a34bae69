import torch

from nern_core.checkpoint import read_checkpoint
from nern_core.datasets import read_image_set
from nern_core.fit import _fisher_batches
from nern_core.training.distill import Teacher
from nern_core.zoo import build_network, find_architecture
from tests.conftest import DIGITS, EXAMPLE


def teacher() -> Teacher:
    architecture = find_architecture("digits-cnn")
    network = build_network(architecture, read_checkpoint(EXAMPLE).tensors)
    return Teacher(network, read_image_set(DIGITS, "train"), architecture.preprocessing)


def images(count: int, seconds: float | None) -> list[int]:
    return [len(batch) for batch in _fisher_batches(count, teacher(), seconds, torch.Generator().manual_seed(0))]


def test_the_fisher_information_is_estimated_on_as_many_images_as_the_recipe_says() -> None:
    assert images(150, seconds=None) == images(150, seconds=600) == [64, 64, 22]


def test_of_a_short_budget_the_fisher_information_takes_a_small_part_only() -> None:
    assert images(150, seconds=1e-6) == [64]
