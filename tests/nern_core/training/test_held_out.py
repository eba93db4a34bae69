import torch

from nern_core.checkpoint import read_checkpoint
from nern_core.datasets import ImageSet, read_image_set
from nern_core.evaluate import open_evaluator
from nern_core.training.held_out import changed, hold_out
from tests.conftest import DIGITS, RealCheckpoints


def test_a_tenth_is_held_out_and_the_rest_is_as_it_was() -> None:
    images = read_image_set(DIGITS, "train")
    rest, held_out = hold_out(images)
    assert len(held_out) == round(0.1 * len(images))
    assert len(rest) + len(held_out) == len(images)
    there = {image.numpy().tobytes() for image in images.images}
    assert all(image.numpy().tobytes() in there for image in rest.images)


def test_the_same_images_are_held_out_and_changed_alike_every_time() -> None:
    images = read_image_set(DIGITS, "train")
    (first, again), (second, other) = hold_out(images), hold_out(images)
    assert torch.equal(first.images, second.images)
    assert torch.equal(again.images, other.images)


def test_changed_images_are_still_images() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (6, 3, 16, 16), generator=generator, dtype=torch.uint8)
    moved = changed(images)
    assert (moved.shape, moved.dtype) == (images.shape, torch.uint8)
    assert not torch.equal(moved, images)


def test_one_image_can_be_held_out_of_few() -> None:
    rest, held_out = hold_out(ImageSet(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), torch.arange(3)))
    assert (len(rest), len(held_out)) == (2, 1)


def test_a_network_errs_on_them_about_as_on_a_test_split(real: RealCheckpoints) -> None:
    _, held_out = hold_out(read_image_set(real.cifar10, "train"))
    evaluator = open_evaluator("cifar-resnet20", real.cifar10)
    part = ImageSet(held_out.images[:1000], held_out.labels[:1000])
    tensors = read_checkpoint(real.checkpoints / "cifar10-resnet20.th").tensors
    found = type(evaluator)(
        architecture=evaluator.architecture, images=part, preprocessing=evaluator.preprocessing, device=evaluator.device
    ).accuracy(tensors)
    assert 90 < found < 95
