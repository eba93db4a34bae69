"""Quantize a checkpoint into the smallest file within a limit on the accuracy drop.

One training run in two parts. Early in the first part, the drop at the current size is measured twice. From it, from
the share of it that will remain at the end of the part, and from the growth of the drop as files shrink, the size is
corrected to the one expected to reach the limit. The file at the end of the part is measured: it is a result, unless
its drop is above the limit. If the drop is above the limit or far below it, the second part continues from there with
another size, and ends with another result. The smallest result within the limit is delivered as measured. If there is
none, weights rounded faithfully without training are measured, too, and delivered if their drop is smaller.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from torch import Tensor

from nern_core.contract.report import SizeTrial
from nern_core.representations.quantized.drop_goal import FIRST_BITS_PER_WEIGHT, DropGoal, Trial
from nern_core.representations.quantized.for_size import MOST_BITS_PER_WEIGHT
from nern_core.representations.quantized.held_out_drop import Measured
from nern_core.representations.quantized.quantizer import Quantized, Quantizer
from nern_core.representations.quantized.rate_distillation import RateDistillation
from nern_core.representations.quantized.rounding_plan import RoundingPlan
from nern_core.representations.quantized.trainer import Trainer, TrainingInputs
from nern_core.training.expected_drop import PointsLost, expected_drop
from nern_core.training.loss import Batch, Loss
from nern_core.training.snapshots import State


@dataclass(frozen=True, slots=True)
class _Correction:
    """A correction at a fraction of the first part; the share `left` of the drop, 0 to 1, remains at the part's end.

    The bits change by a factor from `least` to `most`.
    """

    fraction: float
    left: float
    least: float
    most: float


# A correction rounds all weights again, and recovery takes a good part of the training: so there are only two. The
# values of `left` were measured: `bench/cost_of_size.py`.
_CORRECTIONS = (
    _Correction(fraction=0.15, left=0.5, least=0.3, most=2.0),
    _Correction(fraction=0.35, left=0.65, least=0.6, most=1.5),
)
_SHARES = (0.6, 0.4)
# The second part has less to learn, and starts later on the schedule.
_WINDOW_OF_SECOND = (0.3, 0.7)
_LEAST_AFTER_FIRST, _MOST_AFTER_FIRST = 0.7, 1.5


def quantize_within_drop(
    quantizer: Quantizer,
    plan: RoundingPlan,
    goal: DropGoal,
    measure: Callable[[Quantized], Measured],
    training: TrainingInputs,
    untrained: Callable[[], Quantized],
) -> tuple[Quantized, tuple[SizeTrial, ...], float]:
    """Quantize for the smallest file with an accuracy drop of at most `goal.max_drop` points.

    `untrained` makes the faithful file that replaces a result above the limit. Also returns the measured sizes, the
    result's last, and the seconds of training. The result is above the limit if no file within it was found. Raises
    `NernError` (`diverged`).
    """
    bits = max(FIRST_BITS_PER_WEIGHT, goal.least_bits) * quantizer.weights
    trainer = Trainer(training, quantizer, quantizer.start(plan, bits), bits)
    search = SizeSearch(trainer.loss, lambda: measure(quantizer.rounded(trainer.parameters)), goal)

    def result(quantized: Quantized) -> Trial:
        return quantized, search.note(measure(quantized))

    trainer.run(_SHARES[0], loss=search)
    results = [result(quantizer.rounded(trainer.parameters))]
    if not goal.is_reached_by(results[0][1].drop):
        search.correct(left=1.0, least=_LEAST_AFTER_FIRST, most=_MOST_AFTER_FIRST)
        trainer.run(_SHARES[1], _WINDOW_OF_SECOND)
        results.append(result(quantizer.rounded(trainer.parameters)))
    if all(trial.drop > goal.max_drop for _, trial in results):
        results.append(result(untrained()))
    best = goal.best(results)
    others = tuple(trial for trial in search.trials if trial is not best[1])
    return best[0], (*others, best[1]), trainer.seconds


class SizeSearch(Loss):
    """The loss of training quantized weights, with the bits adjusted to the measured accuracy drop."""

    def __init__(self, loss: RateDistillation, measure: Callable[[], Measured], goal: DropGoal) -> None:
        self._loss = loss
        self.device = loss.device
        self._measure = measure
        self._goal = goal
        self._corrections = 0
        self._measured: list[Measured] = []
        self.trials: list[SizeTrial] = []

    def state(self) -> State:
        """Return the measurements so far, and the state of the loss."""
        return {
            "loss": self._loss.state(),
            "measured": [asdict(measured) for measured in self._measured],
            "corrections": self._corrections,
        }

    def restore(self, state: State) -> None:
        """Restore a state."""
        self._loss.restore(state["loss"])
        self._measured, self.trials = [], []
        for found in state["measured"]:
            self.note(Measured(found["bytes"], PointsLost(**found["loss"])))
        self._corrections = state["corrections"]

    def draw(self, fraction: float) -> Batch:
        """Draw a new batch of images; the bits may change first."""
        due = [correction for correction in _CORRECTIONS if correction.fraction <= fraction]
        if len(due) > self._corrections:
            self._corrections = len(due)
            self.try_out()
            self.correct(left=due[-1].left, least=due[-1].least, most=due[-1].most)
        return self._loss.draw(fraction)

    def compute(self, batch: Batch) -> Tensor:
        """Return the scalar loss of these images."""
        return self._loss.compute(batch)

    def try_out(self) -> SizeTrial:
        """Measure the current size."""
        return self.note(self._measure())

    def note(self, measured: Measured) -> SizeTrial:
        """Record a measurement, with the accuracy drop expected from all measurements so far."""
        self._measured.append(measured)
        drop = expected_drop([known.loss for known in self._measured])
        self.trials.append(SizeTrial(bytes=measured.bytes, drop=round(drop, 2)))
        return self.trials[-1]

    def correct(self, *, left: float, least: float, most: float) -> None:
        """Change the bits to reach the goal, from the last trial's drop, of which the share `left` will remain."""
        factor = self._goal.change_of_bits(left * self.trials[-1].drop)
        bits = self._loss.wanted_bits * min(max(factor, least), most)
        weights = self._loss.weights
        self._loss.want(min(max(bits, self._goal.least_bits * weights), MOST_BITS_PER_WEIGHT * weights))
