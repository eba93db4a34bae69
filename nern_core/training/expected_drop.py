"""How much accuracy a network loses that answers otherwise than the original, from few images.

Counting answers that were right and have become wrong takes very many images, for most answers stay as they are. The
original tells more of those that do not: by its probabilities, made from its logits at the temperature at which they
fit the labels best (Guo et al., 2017), it says how much more likely its own answer is than the other one. It is too
sure of itself, though: where the two disagree on an image that is new to both, the other one is right more often than
the original thinks. By how much, the counts of two measurements tell together.

No less is expected than was counted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_LOWEST, _HIGHEST = 0.1, 10.0
_CANDIDATES = 93
# Before anything is counted, two thirds of what the original thinks are believed, as if counted on five points.
_SHARE_BELIEVED, _POINTS_BELIEVED = 2 / 3, 5.0
_RECENT = 2


@dataclass(frozen=True, slots=True)
class PointsLost:
    """Points of accuracy that are lost: as the original thinks, and as counted."""

    thought: float
    counted: float


class OriginalAnswers:
    """What the original answers for some images, and what other answers cost."""

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        """`logits`, float32 (n, classes), are the original's; `labels`, int64 (n,), the true classes."""
        candidates = torch.logspace(math.log10(_LOWEST), math.log10(_HIGHEST), _CANDIDATES).tolist()
        self.temperature = min(candidates, key=lambda candidate: float(F.cross_entropy(logits / candidate, labels)))
        self._probabilities = (logits / self.temperature).softmax(dim=1)
        self._answers = logits.argmax(dim=1)
        self._labels = labels

    def loss(self, logits: Tensor) -> PointsLost:
        """What is lost by answering as these logits, float32 (n, classes), do."""
        answers = logits.argmax(dim=1)
        own, other = (self._probabilities.gather(1, given[:, None]) for given in (self._answers, answers))
        right, still_right = ((given == self._labels).double().mean() for given in (self._answers, answers))
        return PointsLost(thought=100 * float((own - other).mean()), counted=100 * float(right - still_right))


def expected_drop(losses: Sequence[PointsLost]) -> float:
    """Points that the last of several networks loses on new images, by its own loss and by that of the one before.

    Earlier ones, which lose much more, would mislead: the more is lost, the more often the original is right.
    """
    recent = losses[-_RECENT:]
    thought, counted = sum(loss.thought for loss in recent), sum(loss.counted for loss in recent)
    share = (counted + _SHARE_BELIEVED * _POINTS_BELIEVED) / (thought + _POINTS_BELIEVED)
    return max(losses[-1].thought * min(max(share, 0.0), 1.0), losses[-1].counted)
