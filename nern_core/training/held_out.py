"""Images to choose settings on: a part of the training split, changed until the network errs on them.

A network has seen its training images and is sure of them. Turned, scaled and recoloured a little, they are about as
hard for it as those of a test split, which must not be looked at for choosing.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nern_core.datasets import ImageSet

_LARGEST_TURN = math.radians(15)
_SCALES = (0.9, 1.1)
_CONTRASTS = (0.8, 1.2)
_LARGEST_BRIGHTENING = 20.0
_SHARE = 0.1
_MOST_IMAGES = 5000
_MOST_VALUES = 2**28
_IMAGES_AT_ONCE = 250


def hold_out(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Split off a tenth of the images, 5,000 at most, always the same ones; returns the rest, and those, changed."""
    most = min(_MOST_IMAGES, max(1, _MOST_VALUES // images.images[0].numel()))
    count = max(1, min(most, round(_SHARE * len(images))))
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(images)))
    held_out, rest = order[:count], order[count:]
    return (
        ImageSet(images.images[rest], images.labels[rest]),
        ImageSet(changed(images.images[held_out]), images.labels[held_out]),
    )


def changed(images: Tensor) -> Tensor:
    """Turn, scale and recolour images, uint8 (n, 3, H, W), a little and at random, always the same way."""
    generator = torch.Generator().manual_seed(5)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(len(images), *shape, generator=generator)

    angle, scale = between(-_LARGEST_TURN, _LARGEST_TURN), between(*_SCALES)
    cosine, sine, zero = scale * angle.cos(), scale * angle.sin(), torch.zeros(len(images))
    transforms = torch.stack((cosine, -sine, zero, sine, cosine, zero), dim=1).reshape(-1, 2, 3)
    contrasts = between(*_CONTRASTS, 1, 1, 1)
    brightenings = between(-_LARGEST_BRIGHTENING, _LARGEST_BRIGHTENING, 1, 1, 1)
    parts = (part.split(_IMAGES_AT_ONCE) for part in (images, transforms, contrasts, brightenings))
    return torch.cat([_moved(*part) for part in zip(*parts, strict=True)])


def _moved(images: Tensor, transforms: Tensor, contrasts: Tensor, brightenings: Tensor) -> Tensor:
    pixels = images.float()
    grid = F.affine_grid(transforms, list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    return (moved * contrasts + brightenings).clamp(0, 255).round().to(torch.uint8)
