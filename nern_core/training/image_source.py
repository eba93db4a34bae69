"""Choose the images that a distillation configuration needs."""

import torch

from nern_core.representations.predicted.distill import DistillationConfig
from nern_core.training.images import ImageSource, Mixup, NoiseImages, StoredImages, images_per_batch
from nern_core.training.teacher import Teacher


def image_source(config: DistillationConfig, teacher: Teacher, generator: torch.Generator) -> ImageSource | None:
    """Return the images that the configuration needs; None if they are not available."""
    preprocessing, device = teacher.preprocessing, teacher.device
    count = images_per_batch(config.images_per_step, preprocessing.input_size, device)
    source: ImageSource
    if config.images == "noise":
        source = NoiseImages(preprocessing.input_size, count, generator, device)
    elif config.images == "synthesized" and teacher.synthesized is not None:
        source = StoredImages(teacher.synthesized, preprocessing, count, generator, device)
    elif config.images == "training" and teacher.images is not None:
        source = StoredImages(teacher.images.images, preprocessing, count, generator, device)
    else:
        return None
    return Mixup(source, generator) if config.mixup else source
