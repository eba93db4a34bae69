"""The digits example as a teacher, with its training images."""

import torch

from nern_core.networks import build_network, find_architecture
from nern_core.networks.datasets import read_image_set
from nern_core.recipes.fast import FAST
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.training.image_source import image_source
from nern_core.training.images import ImageSource
from nern_core.training.teacher import Teacher
from tests.conftest import DIGITS, EXAMPLE


def digits_teacher() -> Teacher:
    """Return the network of the example."""
    architecture = find_architecture("digits-cnn")
    return Teacher(
        network=build_network(architecture, read_checkpoint(EXAMPLE).tensors),
        preprocessing=architecture.preprocessing,
        images=read_image_set(DIGITS, "train"),
    )


def images_of(teacher: Teacher) -> ImageSource:
    """Return batches of its images as in the recipe `fast`, always the same ones."""
    images = image_source(FAST.images, teacher, torch.Generator().manual_seed(0))
    assert images is not None
    return images
