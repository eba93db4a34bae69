"""Estimate the accuracy drop of a changed network from few images.

Counting answers that changed from right to wrong needs very many images, because most answers stay the same. The
original tells more about those that change: its probabilities, from its logits at the temperature that fits the labels
best (Guo et al., 2017), say how much more likely its own answer is than the other one. But it is overconfident: if the
two disagree on an image that is new to both, the other answer is right more often than the original predicts. This bias
is estimated from the counts of two measurements together. The expected drop is never less than the counted one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_LOWEST, _HIGHEST = 0.1, 10.0
_CANDIDATES = 93
# Prior: two thirds of the original's prediction is believed, as if that had been counted on five points.
_SHARE_BELIEVED, _POINTS_BELIEVED = 2 / 3, 5.0
_RECENT = 2


@dataclass(frozen=True, slots=True)
class PointsLost:
    """Points of accuracy lost: as predicted by the original, and as counted."""

    thought: float
    counted: float


class OriginalAnswers:
    """The original's answers for some images, to compute the loss from other answers."""

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        """`logits`, float32 (n, classes), are the original's; `labels`, int64 (n,), are the true classes."""
        candidates = torch.logspace(math.log10(_LOWEST), math.log10(_HIGHEST), _CANDIDATES).tolist()
        self.temperature = min(candidates, key=lambda candidate: float(F.cross_entropy(logits / candidate, labels)))
        self._probabilities = (logits / self.temperature).softmax(dim=1)
        self._answers = logits.argmax(dim=1)
        self._labels = labels

    def loss(self, logits: Tensor) -> PointsLost:
        """Return the points lost with the answers of these logits, float32 (n, classes)."""
        answers = logits.argmax(dim=1)
        own, other = (self._probabilities.gather(1, given[:, None]) for given in (self._answers, answers))
        right, still_right = ((given == self._labels).double().mean() for given in (self._answers, answers))
        return PointsLost(thought=100 * float((own - other).mean()), counted=100 * float(right - still_right))


def expected_drop(losses: Sequence[PointsLost]) -> float:
    """Return the expected loss in points of the last of several networks, from its own loss and the one before.

    Earlier ones, which lose much more, would mislead: the larger the loss, the more often the original is right.
    """
    recent = losses[-_RECENT:]
    thought, counted = sum(loss.thought for loss in recent), sum(loss.counted for loss in recent)
    share = (counted + _SHARE_BELIEVED * _POINTS_BELIEVED) / (thought + _POINTS_BELIEVED)
    return max(losses[-1].thought * min(max(share, 0.0), 1.0), losses[-1].counted)
