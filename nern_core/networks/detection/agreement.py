"""The agreement of the boxes of two detection networks."""

from collections.abc import Mapping, Sequence
from typing import Final

from torch import Tensor

# The usual thresholds for a box that is reported, and for one that is found again.
CERTAIN: Final = 0.5
OVERLAP: Final = 0.5


class BoxMeter:
    """Counts, image by image, the boxes of an original that a changed network finds again, with the same class.

    Only boxes with a score of at least `CERTAIN` count. A box is found again if the intersection over the union of both
    is at least `OVERLAP`; each box matches at most one other, those of high scores first.
    """

    def __init__(self) -> None:
        self._matches = self._boxes = 0

    def add(self, original: Sequence[Mapping[str, Tensor]], changed: Sequence[Mapping[str, Tensor]]) -> None:
        """Add the detections of a batch, one for each image: `boxes` (k, 4), `labels` and `scores` (k)."""
        for first, second in zip(map(_certain, original), map(_certain, changed), strict=True):
            self._boxes += len(first["boxes"]) + len(second["boxes"])
            self._matches += _matches(first, second)

    @property
    def f1(self) -> float | None:
        """Return the F1 score in percent, with the original's boxes as the truth; None if neither network has any."""
        return 100 * 2 * self._matches / self._boxes if self._boxes else None


def _certain(detections: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the boxes that count, by descending score, on the CPU."""
    scores = detections["scores"].float().cpu()
    order = scores.argsort(descending=True, stable=True)
    chosen = order[scores[order] >= CERTAIN]
    return {"boxes": detections["boxes"].float().cpu()[chosen], "labels": detections["labels"].cpu()[chosen]}


def _matches(original: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> int:
    from torchvision.ops import box_iou

    overlaps = box_iou(changed["boxes"], original["boxes"])
    overlaps[changed["labels"][:, None] != original["labels"]] = 0
    matches = 0
    for row in overlaps.unbind():
        if len(row) and float(row.max()) >= OVERLAP:
            matches += 1
            # Found once.
            overlaps[:, int(row.argmax())] = 0
    return matches
