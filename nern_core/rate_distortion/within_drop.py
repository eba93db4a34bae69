"""Quantize a checkpoint into the smallest file that costs no more accuracy than is allowed.

One training, on whose way the size is corrected three times. Each time it is measured what the present size costs by
now; by how much of that will be left at the end, and by how fast costs grow when files shrink, the size that will cost
what is allowed is estimated. Corrections become smaller, for after each the weights have to find new places. What the
training has reached at its end is the result: nothing is trained anew, and what is measured is what is delivered. If it
costs too much after all, it is trained a little longer with more bits.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from torch import Tensor

from nern_core.rate_distortion.for_size import FEWEST_BITS_PER_WEIGHT, MOST_BITS_PER_WEIGHT
from nern_core.rate_distortion.quantizer import Quantized, Quantizer
from nern_core.rate_distortion.train import RateDistillation
from nern_core.rate_distortion.trainer import Trainer, Training
from nern_core.report import SizeTrial
from nern_core.snapshots import State
from nern_core.training.expected_drop import Loss, expected_drop


@dataclass(frozen=True, slots=True)
class _Correction:
    """At a fraction of the training; `left` is how much of the cost its end will leave, 0 to 1.

    The bits change by a factor from `least` to `most`.
    """

    fraction: float
    left: float
    least: float
    most: float


_FIRST_BITS_PER_WEIGHT = 2.5
# What is left was measured: `bench/cost_of_size.py`.
_CORRECTIONS = (
    _Correction(fraction=0.15, left=0.5, least=0.3, most=2.0),
    _Correction(fraction=0.35, left=0.65, least=0.6, most=1.5),
    _Correction(fraction=0.6, left=0.8, least=0.85, most=1.2),
)
# The cost grows about as the bits to the power of -3.3.
_EXPONENT = 0.3
# What is aimed at, of what is allowed: estimates are off by some.
_AIM = 0.9
# For training with more bits there is a part of the budget, which has the second half of the schedule.
_MOST_REPAIRS = 2
_SHARE_OF_REPAIR = 0.08
_WINDOW_OF_REPAIR = (0.5, 0.5)
_LEAST_REPAIR, _MOST_REPAIR = 1.05, 1.35


@dataclass(frozen=True, slots=True)
class Measured:
    """The bytes of a file, and what it costs on some images."""

    bytes: int
    loss: Loss


def quantize_within_drop(
    quantizer: Quantizer, max_drop: float, measure: Callable[[Quantized], Measured], training: Training
) -> tuple[Quantized, tuple[SizeTrial, ...], float]:
    """Quantize for the smallest file that costs at most `max_drop` points of accuracy.

    Also returns the sizes that were measured, the result's at last, and the seconds of training. The result costs more
    than `max_drop` where no size does not. Raises `NernError` (`diverged`).
    """
    bits = _FIRST_BITS_PER_WEIGHT * quantizer.weights
    trainer = Trainer(training, quantizer, quantizer.start(bits), bits)
    search = SizeSearch(trainer.loss, lambda: measure(quantizer.rounded(trainer.parameters)), max_drop)
    trainer.run(1 - _MOST_REPAIRS * _SHARE_OF_REPAIR, loss=search)
    search.try_out()
    for _ in range(_MOST_REPAIRS):
        if search.trials[-1].drop <= max_drop:
            break
        search.correct(left=1.0, least=_LEAST_REPAIR, most=_MOST_REPAIR)
        trainer.run(_SHARE_OF_REPAIR, _WINDOW_OF_REPAIR)
        search.try_out()
    return quantizer.rounded(trainer.parameters.cpu()), search.trials, trainer.seconds


class SizeSearch:
    """The loss of a training with quantized weights, whose bits follow from what the file costs."""

    def __init__(self, loss: RateDistillation, measure: Callable[[], Measured], max_drop: float) -> None:
        self._loss = loss
        self._measure = measure
        self._max_drop = max_drop
        self._corrections = 0
        self._measured: list[Measured] = []

    def state(self) -> State:
        """What has been measured so far, and the state of the loss."""
        measured = [asdict(measured) for measured in self._measured]
        return {"loss": self._loss.state(), "measured": measured, "corrections": self._corrections}

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self._loss.restore(state["loss"])
        self._measured = [Measured(found["bytes"], Loss(**found["loss"])) for found in state["measured"]]
        self._corrections = state["corrections"]

    @property
    def trials(self) -> tuple[SizeTrial, ...]:
        """What has been measured so far, and the cost that was expected by then."""
        losses = [measured.loss for measured in self._measured]
        return tuple(
            SizeTrial(bytes=measured.bytes, drop=round(expected_drop(losses[: number + 1]), 2))
            for number, measured in enumerate(self._measured)
        )

    def __call__(self, fraction: float) -> Tensor:
        """Scalar loss of a new batch of images, before which the bits may change."""
        due = [correction for correction in _CORRECTIONS if correction.fraction <= fraction]
        if len(due) > self._corrections:
            self._corrections = len(due)
            self.try_out()
            self.correct(left=due[-1].left, least=due[-1].least, most=due[-1].most)
        return self._loss(fraction)

    def try_out(self) -> None:
        """Measure the present size."""
        self._measured.append(self._measure())

    def correct(self, *, left: float, least: float, most: float) -> None:
        """Want so many times the bits that the last trial, of whose cost so much will be left, calls for."""
        factor = (left * self.trials[-1].drop / (_AIM * self._max_drop)) ** _EXPONENT
        bits = self._loss.wanted_bits * min(max(factor, least), most)
        fewest, most_bits = (
            self._loss.weights * bits_per_weight for bits_per_weight in (FEWEST_BITS_PER_WEIGHT, MOST_BITS_PER_WEIGHT)
        )
        self._loss.want(min(max(bits, fewest), most_bits))
