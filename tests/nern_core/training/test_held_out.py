import math

import pytest
import torch

from nern_core.networks.datasets import ImageSet, read_image_set
from nern_core.networks.evaluate import open_evaluator
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.training.held_out import hold_out
from tests.conftest import DIGITS, RealCheckpoints


def test_a_tenth_is_held_out_and_the_rest_is_as_it_was() -> None:
    images = read_image_set(DIGITS, "train")
    rest, held_out = hold_out(images)
    count = round(0.1 * len(images))
    assert len(rest) + count == len(images)
    # With so few images, each is blended with several others.
    assert len(held_out) == count * math.ceil(2500 / count)
    assert torch.equal(held_out.labels[:count], held_out.labels[count : 2 * count])
    assert not torch.equal(held_out.images[:count], held_out.images[count : 2 * count])
    there = {image.numpy().tobytes() for image in images.images}
    assert all(image.numpy().tobytes() in there for image in rest.images)


def test_the_same_images_are_held_out_every_time() -> None:
    images = read_image_set(DIGITS, "train")
    (first, again), (second, other) = hold_out(images), hold_out(images)
    assert torch.equal(first.images, second.images)
    assert torch.equal(again.images, other.images)


def test_two_images_of_one_class_are_blended() -> None:
    # Every image has one gray value, which identifies it.
    grays = torch.arange(0, 240, 3, dtype=torch.uint8)
    images = ImageSet(grays[:, None, None, None].repeat(1, 3, 8, 8), torch.arange(80) % 2)
    rest, held_out = hold_out(images)
    own = set(grays.tolist()) - {int(image[0, 0, 0]) for image in rest.images}
    label_of = dict(zip(grays.tolist(), images.labels.tolist(), strict=True))
    pairs = {
        (round(2 / 3 * first + 1 / 3 * second), label_of[first])
        for first in own
        for second in own
        if first != second and label_of[first] == label_of[second]
    }
    assert {
        (int(image[0, 0, 0]), int(label)) for image, label in zip(held_out.images, held_out.labels, strict=True)
    } == pairs


def test_one_image_can_be_held_out_of_few() -> None:
    rest, held_out = hold_out(ImageSet(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), torch.arange(3)))
    assert (len(rest), len(held_out), len(held_out.labels.unique())) == (2, 2500, 1)


@pytest.mark.slow
def test_a_network_errs_on_them_about_as_on_a_test_split(real: RealCheckpoints) -> None:
    _, held_out = hold_out(read_image_set(real.cifar10, "train"))
    evaluator = open_evaluator("cifar-resnet20", real.cifar10)
    part = ImageSet(held_out.images[:1000], held_out.labels[:1000])
    tensors = read_checkpoint(real.checkpoints / "cifar10-resnet20.th").tensors
    found = type(evaluator)(
        architecture=evaluator.architecture, images=part, preprocessing=evaluator.preprocessing, device=evaluator.device
    ).accuracy(tensors)
    assert 90 < found < 95
