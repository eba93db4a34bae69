"""Segmentation networks of torchvision and transformers: the output with a class for each pixel, and its agreement."""

from typing import Final

import torch
from torch import Tensor, nn

_OF_TORCHVISION: Final = "torchvision.models.segmentation."
# The main output of torchvision's networks. The other one, `aux`, only training uses.
_MAIN: Final = "out"
# The end of the names of classes in transformers.
_OF_TRANSFORMERS: Final = "ForSemanticSegmentation"
_LOGITS: Final = "logits"


def output_of_classes(network: nn.Module) -> str | None:
    """Return the name of the output with logits of classes (n, classes, h, w); None if it is no such network."""
    kinds = type(network).__mro__
    if any(kind.__module__.startswith(_OF_TORCHVISION) for kind in kinds):
        return _MAIN
    return _LOGITS if kinds[0].__name__.endswith(_OF_TRANSFORMERS) else None


def compared_outputs(network: nn.Module) -> tuple[str, ...]:
    """Return the outputs that are compared unless others are named; all of them, if there are none here."""
    return (_MAIN,) if output_of_classes(network) == _MAIN else ()


class PixelMeter:
    """Counts the pixels of each class in an original, and in a changed network."""

    def __init__(self) -> None:
        self._counts: Tensor | None = None

    def add(self, original: Tensor, changed: Tensor) -> None:
        """Add the logits (n, classes, h, w) of a batch."""
        classes = original.shape[1]
        first, second = (logits.argmax(dim=1).flatten() for logits in (original, changed))
        counts = torch.bincount(first * classes + second, minlength=classes**2).reshape(classes, classes).cpu()
        self._counts = counts if self._counts is None else self._counts + counts

    @property
    def agreement(self) -> float | None:
        """Return the percentage of pixels with the same class; None if nothing was added."""
        if self._counts is None:
            return None
        return 100 * float(self._counts.diagonal().sum()) / float(self._counts.sum())

    @property
    def mean_iou(self) -> float | None:
        """Return the mean over the classes found of intersection over union, in percent; None if nothing was added."""
        if self._counts is None:
            return None
        both = self._counts.diagonal()
        either = self._counts.sum(dim=0) + self._counts.sum(dim=1) - both
        return 100 * float((both[either > 0].double() / either[either > 0]).mean())
