"""Choose the inputs to train on."""

from dataclasses import dataclass
from typing import Literal

import torch

from nern_core.training.images import ImageSource, Mixup, NoiseImages, StoredImages
from nern_core.training.input_source import InputSource, StoredBatches
from nern_core.training.teacher import Teacher


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSettings:
    """Source and number of the images of a step; `mixup` blends them in pairs."""

    per_step: int
    source: Literal["training", "synthesized", "noise"] = "training"
    mixup: bool = False


def input_source(settings: ImageSettings, teacher: Teacher, generator: torch.Generator) -> InputSource | None:
    """Return the teacher's batches, or the images that the settings ask for; None if these are not available."""
    if teacher.batches:
        return StoredBatches(teacher.batches, generator, teacher.device)
    return image_source(settings, teacher, generator)


def image_source(settings: ImageSettings, teacher: Teacher, generator: torch.Generator) -> ImageSource | None:
    """Return the images that the settings ask for; None if they are not available."""
    if teacher.preprocessing is None:
        return None
    preprocessing, device = teacher.preprocessing, teacher.device
    count = teacher.examples_per_step(settings.per_step)
    source: ImageSource
    if settings.source == "noise":
        source = NoiseImages(preprocessing.input_size, count, generator, device)
    elif settings.source == "synthesized" and teacher.synthesized is not None:
        source = StoredImages(teacher.synthesized, preprocessing, count, generator, device)
    elif settings.source == "training" and teacher.images is not None:
        source = StoredImages(teacher.images.images, preprocessing, count, generator, device)
    else:
        return None
    return Mixup(source, generator) if settings.mixup else source
