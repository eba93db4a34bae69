"""Quantize a checkpoint into the smallest file that costs no more accuracy than is allowed.

Training is one, in two parts. Early in the first one it is measured, twice, what the present size costs by then; by how
much of that the part leaves at its end, and by how fast costs grow when files shrink, the size is corrected to that
which will cost what is allowed. What the part ends with is measured: that is a result, unless it costs too much. If it
costs much less or too much, the second part goes on from it with another size, and ends with another result. Of the
results that cost no more than is allowed, the smallest one is delivered as it was measured. If none does, weights that
keep their precision without training are measured too, and delivered if they cost less.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from nern_core.rate_distortion.for_size import FEWEST_BITS_PER_WEIGHT, MOST_BITS_PER_WEIGHT
from nern_core.rate_distortion.quantizer import Quantized, Quantizer
from nern_core.rate_distortion.train import RateDistillation
from nern_core.rate_distortion.trainer import Trainer, Training
from nern_core.report import SizeTrial
from nern_core.snapshots import State
from nern_core.training.expected_drop import PointsLost, expected_drop
from nern_core.training.loss import Batch, Loss


@dataclass(frozen=True, slots=True)
class _Correction:
    """At a fraction of the first part, whose end leaves so much of the cost, 0 to 1.

    The bits change by a factor from `least` to `most`.
    """

    fraction: float
    left: float
    least: float
    most: float


_FIRST_BITS_PER_WEIGHT = 2.5
# After a correction all weights are rounded anew, which takes a good part of a training to mend: so there are no more.
# What is left was measured: `bench/cost_of_size.py`.
_CORRECTIONS = (
    _Correction(fraction=0.15, left=0.5, least=0.3, most=2.0),
    _Correction(fraction=0.35, left=0.65, least=0.6, most=1.5),
)
_SHARES = (0.6, 0.4)
# The second part has less to learn, and begins later on the schedule.
_WINDOW_OF_SECOND = (0.3, 0.7)
_LEAST_AFTER_FIRST, _MOST_AFTER_FIRST = 0.7, 1.5
# No second part if the first one ends within this of what is allowed.
_NEAR_ENOUGH = 0.85
# What is aimed at, of what is allowed: estimates are off by some.
_AIM = 0.9
# The cost grows about as the bits to the power of -3.3.
_EXPONENT = 0.3


@dataclass(frozen=True, slots=True)
class Measured:
    """The bytes of a file, and what it costs on some images."""

    bytes: int
    loss: PointsLost


@dataclass(frozen=True, slots=True)
class DropGoal:
    """The points of accuracy that a file may cost, and the fewest bits for a weight that are tried."""

    max_drop: float
    least_bits: float = FEWEST_BITS_PER_WEIGHT


@dataclass(frozen=True, slots=True)
class _Result:
    """What a part has ended with."""

    quantized: Quantized
    trial: SizeTrial


def quantize_within_drop(
    quantizer: Quantizer,
    goal: DropGoal,
    measure: Callable[[Quantized], Measured],
    training: Training,
    untrained: Callable[[], Quantized],
) -> tuple[Quantized, tuple[SizeTrial, ...], float]:
    """Quantize for the smallest file that costs at most `goal.max_drop` points of accuracy.

    `untrained` makes the faithful file that takes the result's place where that costs more than is allowed. Also
    returns the sizes that were measured, the result's at last, and the seconds of training. The result costs more
    than allowed where none was found that does not. Raises `NernError` (`diverged`).
    """
    max_drop = goal.max_drop
    bits = max(_FIRST_BITS_PER_WEIGHT, goal.least_bits) * quantizer.weights
    trainer = Trainer(training, quantizer, quantizer.start(bits), bits)
    search = SizeSearch(trainer.loss, lambda: measure(quantizer.rounded(trainer.parameters)), goal)

    def result(quantized: Quantized) -> _Result:
        return _Result(quantized, search.note(measure(quantized)))

    trainer.run(_SHARES[0], loss=search)
    results = [result(quantizer.rounded(trainer.parameters))]
    if not _NEAR_ENOUGH * max_drop <= results[0].trial.drop <= max_drop:
        search.correct(left=1.0, least=_LEAST_AFTER_FIRST, most=_MOST_AFTER_FIRST)
        trainer.run(_SHARES[1], _WINDOW_OF_SECOND)
        results.append(result(quantizer.rounded(trainer.parameters)))
    if all(found.trial.drop > max_drop for found in results):
        results.append(result(untrained()))
    best = _best(results, max_drop)
    others = tuple(trial for trial in search.trials if trial is not best.trial)
    return best.quantized, (*others, best.trial), trainer.seconds


def _best(results: Sequence[_Result], max_drop: float) -> _Result:
    """The smallest that costs no more than is allowed; if none does, the one that costs least."""
    accurate = [result for result in results if result.trial.drop <= max_drop]
    if accurate:
        return min(accurate, key=lambda result: result.trial.bytes)
    return min(results, key=lambda result: result.trial.drop)


class SizeSearch(Loss):
    """The loss of a training with quantized weights, whose bits follow from what the file costs."""

    def __init__(self, loss: RateDistillation, measure: Callable[[], Measured], goal: DropGoal) -> None:
        self._loss = loss
        self.device = loss.device
        self._measure = measure
        self._goal = goal
        self._corrections = 0
        self._measured: list[Measured] = []
        self.trials: list[SizeTrial] = []

    def state(self) -> State:
        """What has been measured so far, and the state of the loss."""
        return {
            "loss": self._loss.state(),
            "measured": [asdict(measured) for measured in self._measured],
            "corrections": self._corrections,
        }

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self._loss.restore(state["loss"])
        self._measured, self.trials = [], []
        for found in state["measured"]:
            self.note(Measured(found["bytes"], PointsLost(**found["loss"])))
        self._corrections = state["corrections"]

    def draw(self, fraction: float) -> Batch:
        """A new batch of images, before which the bits may change."""
        due = [correction for correction in _CORRECTIONS if correction.fraction <= fraction]
        if len(due) > self._corrections:
            self._corrections = len(due)
            self.try_out()
            self.correct(left=due[-1].left, least=due[-1].least, most=due[-1].most)
        return self._loss.draw(fraction)

    def compute(self, batch: Batch) -> Tensor:
        """Scalar loss of these images."""
        return self._loss.compute(batch)

    def try_out(self) -> SizeTrial:
        """Measure the present size."""
        return self.note(self._measure())

    def note(self, measured: Measured) -> SizeTrial:
        """Keep what was measured, and what it is expected to cost by all that was measured so far."""
        self._measured.append(measured)
        drop = expected_drop([known.loss for known in self._measured])
        self.trials.append(SizeTrial(bytes=measured.bytes, drop=round(drop, 2)))
        return self.trials[-1]

    def correct(self, *, left: float, least: float, most: float) -> None:
        """Want so many times the bits that the last trial, of whose cost so much will be left, calls for."""
        factor = (left * self.trials[-1].drop / (_AIM * self._goal.max_drop)) ** _EXPONENT
        bits = self._loss.wanted_bits * min(max(factor, least), most)
        weights = self._loss.weights
        self._loss.want(min(max(bits, self._goal.least_bits * weights), MOST_BITS_PER_WEIGHT * weights))
