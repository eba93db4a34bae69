"""The description of an architecture in the zoo."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import nn

# Most networks for photographs take the centre of 224 pixels of 256.
USUAL_CROP_SHARE: Final = 224 / 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Random changes of training images: zero padding in pixels before a random crop, and mirroring."""

    crop_padding: int = 0
    horizontal_flip: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """Preprocessing of uint8 RGB images: resized to `input_size` pixels, scaled to [0, 1], normalized.

    With an `input_size` of 0, images are not resized. Image files are scaled before so that the centre has the
    `crop_share` of their shorter side.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_size: int
    crop_share: float = USUAL_CROP_SHARE
    augmentation: Augmentation = Augmentation()


# For networks about whose images nothing is known: only scaled to [0, 1].
UNCHANGED: Final = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), input_size=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """A network by name. `build(classes)` makes it with fresh weights; classes count if it `takes_classes`.

    `is_classifier` is False for networks that are known to return something else than the logits of images.
    `auxiliary` are the names of modules that only training uses; a checkpoint may lack them.
    """

    name: str
    build: Callable[[int], nn.Module]
    preprocessing: Preprocessing = UNCHANGED
    auxiliary: tuple[str, ...] = ()
    takes_classes: bool = False
    is_classifier: bool = True
