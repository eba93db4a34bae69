"""Held-out images for choosing settings, made from a part of the training split that is not trained on.

A network has memorized its training images: on them, any change to it costs accuracy. A test split shows the loss on
new images, but must not be used for choosing. Blends of two images of one class, with weights 2/3 and 1/3, are as new
to the network as test images, and their class is known. ResNet20 and ResNet56 err on them about as often as on the test
split, and lose about as much accuracy when they are quantized.
"""

import math

import numpy as np
import torch
from torch import Tensor

from nern_core.networks.datasets import ImageSet

_SHARE = 0.1
_FEWEST_IMAGES, _MOST_IMAGES = 2500, 5000
_MOST_VALUES = 2**28
_IMAGES_AT_ONCE = 250
_PART_OF_FIRST = 2 / 3


def hold_out(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Split off a tenth of the images, at most 5,000, always the same ones; return the rest, and these, blended.

    If there are few images, each is blended with several others, to get 2,500.
    """
    most = min(_MOST_IMAGES, max(1, _MOST_VALUES // images.images[0].numel()))
    count = max(1, min(most, round(_SHARE * len(images))))
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(images)))
    held_out, rest = order[:count], order[count:]
    times = math.ceil(min(_FEWEST_IMAGES, most) / count)
    first = held_out.repeat(times)
    second = torch.cat([held_out[_partners(images.labels[held_out], shift)] for shift in range(1, times + 1)])
    return (
        ImageSet(images.images[rest], images.labels[rest]),
        ImageSet(_blended(images.images, first, second), images.labels[first]),
    )


def _partners(labels: Tensor, shift: int) -> Tensor:
    """Return, for each of the labels (n,), the row of another one of its class, if any: `shift` rows further on."""
    partners = torch.empty(len(labels), dtype=torch.long)
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        # Every shift selects a different one, as long as there are others.
        partners[rows] = rows.roll(-(1 + (shift - 1) % max(1, len(rows) - 1)))
    return partners


def _blended(images: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Blend images, 2/3 of those in rows `first` (n,) and 1/3 of those in rows `second`: uint8 (n, 3, H, W)."""
    parts = zip(first.split(_IMAGES_AT_ONCE), second.split(_IMAGES_AT_ONCE), strict=True)
    return torch.cat(
        [
            images[front].float().lerp(images[back].float(), 1 - _PART_OF_FIRST).round().to(torch.uint8)
            for front, back in parts
        ]
    )
