"""Judge whether an encoding can replace its original: a level, a sentence and advice. Torch-free.

If the accuracy was measured, the accuracy drop decides, unless the outputs have little to do with the original's.
Without data, the relative errors of the weights decide, based on the usual drop for such errors (docs/encoding.md has
the figures).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, TypeGuard

from pydantic import BaseModel, ConfigDict, Field

from nern_core.contract.errors import quoted
from nern_core.contract.fidelity import Fidelity
from nern_core.contract.plural import plural

# Points of accuracy.
FAITHFUL_DROP: Final = 0.5
DEGRADED_DROP: Final = 5.0
# Without labels: percentages of equal answers, mean overlaps of masks and F1 scores of boxes, and relative errors of
# outputs that are no answers.
FAITHFUL_AGREEMENT: Final = 98.0
DEGRADED_AGREEMENT: Final = 90.0
FAITHFUL_OVERLAP: Final = 95.0
DEGRADED_OVERLAP: Final = 80.0
FAITHFUL_OUTPUT_ERROR: Final = 0.1
DEGRADED_OUTPUT_ERROR: Final = 0.5
# With labels: below this percentage of equal answers, the network gives other answers, however many of them are right.
OTHER_ANSWERS_AGREEMENT: Final = 50.0
# Of fewer examples, one more wrong answer is more than a point of accuracy.
FEW_EXAMPLES: Final = 100
# Relative errors of all weights together, for weights that were rounded or fitted. The errors of rounding cancel in the
# outputs, those of a predictor do not.
FAITHFUL_ERROR: Final = 0.03
DEGRADED_ROUNDING_ERROR: Final = 0.6
DEGRADED_PREDICTION_ERROR: Final = 0.3
# The same with distillation, which moves weights without harm.
FAITHFUL_DISTILLED_ERROR: Final = 0.12
DEGRADED_DISTILLED_ERROR: Final = 0.6
# A layer with at least this relative error counts as lost; a layer replaced by zeros has 1.
LOST_LAYER_ERROR: Final = 0.9

_MOST_NAMED = 3
# With at most this accuracy in percent, the original was probably not made for these images.
_FOREIGN_DATA_ACCURACY: Final = 20.0
# Training with less than this part of the recommended steps is reported as too short.
_SHORT_TRAINING = 0.5
# The size advised if the accuracy was measured, relative to the file's.
_MORE_BYTES: Final = 1.3
# The share of the faithful error that the advised size is made for.
_AIM: Final = 0.9


class VerdictLevel(StrEnum):
    """Levels of a verdict: `faithful` can replace the original, `degraded` with a loss, `ruined` cannot."""

    FAITHFUL = "faithful"
    DEGRADED = "degraded"
    RUINED = "ruined"


_BY_SEVERITY: Final = tuple(VerdictLevel)


class Verdict(BaseModel):
    """The verdict on an encoding."""

    model_config = ConfigDict(frozen=True)

    level: VerdictLevel
    sentence: Annotated[str, Field(description="The accuracy drop, measured or estimated.")]
    advice: Annotated[str | None, Field(description="How to get a better result.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The metrics that a verdict is based on.

    `weights` counts the represented ones. Accuracies are in percent, None if not measured. `layer_errors` are relative
    errors by layer name. `steps` are the training steps, and `recommended_steps` the network's default (None: unknown);
    `is_distilled` is True if it was trained on outputs of the original.
    """

    file_bytes: int
    weights: int
    original_accuracy: float | None
    reconstructed_accuracy: float | None
    fidelity: Fidelity | None = None
    relative_error: float
    layer_errors: Mapping[str, float]
    has_predictor: bool
    is_distilled: bool
    steps: int
    recommended_steps: int | None = None
    better_alternatives: Sequence[str] = ()

    @property
    def drop(self) -> float | None:
        """Return the accuracy drop in points; None without data."""
        return accuracy_drop(self.original_accuracy, self.reconstructed_accuracy)

    @property
    def lost_layers(self) -> list[str]:
        """Return the names of the lost layers by descending error."""
        lost = {name: error for name, error in self.layer_errors.items() if error >= LOST_LAYER_ERROR}
        return sorted(lost, key=lambda name: -lost[name])


def accuracy_drop(original: float | None, reconstructed: float | None) -> float | None:
    """Return the accuracy drop in points, to a hundredth; None if either accuracy is unknown."""
    return None if original is None or reconstructed is None else round(original - reconstructed, 2)


def judge(evidence: Evidence) -> Verdict:
    """Judge the evidence."""
    level = _level(evidence)
    return Verdict(level=level, sentence=_sentence(evidence, level), advice=_advice(evidence, level))


def _level(evidence: Evidence) -> VerdictLevel:
    if evidence.drop is not None:
        by_drop = _graded(evidence.drop, FAITHFUL_DROP, DEGRADED_DROP)
        return max(by_drop, _level_of_likeness(evidence.fidelity), key=_BY_SEVERITY.index)
    if evidence.fidelity is not None:
        return _level_of_outputs(evidence.fidelity)
    if evidence.lost_layers:
        return VerdictLevel.RUINED
    if evidence.is_distilled:
        return _graded(evidence.relative_error, FAITHFUL_DISTILLED_ERROR, DEGRADED_DISTILLED_ERROR)
    degraded = DEGRADED_PREDICTION_ERROR if evidence.has_predictor else DEGRADED_ROUNDING_ERROR
    return _graded(evidence.relative_error, FAITHFUL_ERROR, degraded)


def _level_of_outputs(fidelity: Fidelity) -> VerdictLevel:
    overlap = fidelity.mean_iou if fidelity.mean_iou is not None else fidelity.box_f1
    if overlap is not None:
        return _graded(100 - overlap, 100 - FAITHFUL_OVERLAP, 100 - DEGRADED_OVERLAP)
    if fidelity.agreement is not None:
        return _graded(100 - fidelity.agreement, 100 - FAITHFUL_AGREEMENT, 100 - DEGRADED_AGREEMENT)
    return _graded(fidelity.relative_error, FAITHFUL_OUTPUT_ERROR, DEGRADED_OUTPUT_ERROR)


def _level_of_likeness(fidelity: Fidelity | None) -> VerdictLevel:
    """Return the best level that an accuracy can justify, by the likeness of the outputs.

    Networks that are often wrong change many wrong answers without harm, so it is milder than without labels.
    """
    if fidelity is None or fidelity.agreement is None:
        return VerdictLevel.FAITHFUL
    return _graded(100 - fidelity.agreement, 100 - DEGRADED_AGREEMENT, 100 - OTHER_ANSWERS_AGREEMENT)


def _graded(loss: float, faithful: float, degraded: float) -> VerdictLevel:
    if loss <= faithful:
        return VerdictLevel.FAITHFUL
    return VerdictLevel.DEGRADED if loss <= degraded else VerdictLevel.RUINED


def _sentence(evidence: Evidence, level: VerdictLevel) -> str:
    drop = evidence.drop
    if drop is not None:
        change = "the same as" if drop == 0 else f"{abs(drop):.2f} points {'below' if drop > 0 else 'above'}"
        sentence = f"The accuracy is {evidence.reconstructed_accuracy:.2f} %, {change} the original's"
        if _level_of_likeness(evidence.fidelity) is VerdictLevel.FAITHFUL or evidence.fidelity is None:
            return f"{sentence}."
        fidelity = evidence.fidelity
        return (
            f"{sentence}, but only {fidelity.agreement:.2f} % of the answers are the original's; the outputs differ by "
            f"{_percent(fidelity.relative_error)} %."
        )
    if evidence.fidelity is not None:
        return _sentence_on_outputs(evidence.fidelity)
    degraded = "usually costs some" if evidence.is_distilled else "may cost nothing or many"
    cost = {
        VerdictLevel.FAITHFUL: "usually costs less than half a point of accuracy",
        VerdictLevel.DEGRADED: f"{degraded} points of accuracy",
        VerdictLevel.RUINED: "usually costs most of the accuracy",
    }[level]
    measure = "; measure it with a data set" if cost.startswith("may cost") else ""
    differ = f"The weights differ by {_percent(evidence.relative_error)} %, which {cost}{measure}."
    sentence = f"The accuracy was not measured. {differ}"
    lost = evidence.lost_layers
    if not lost:
        return sentence
    others = len(lost) - _MOST_NAMED
    named = ", ".join(quoted(name) for name in lost[:_MOST_NAMED]) + (f" and {others} more" if others > 0 else "")
    return f"{sentence} Little is left of {'the layer' if len(lost) == 1 else 'the layers'} {named}."


def _sentence_on_outputs(fidelity: Fidelity) -> str:
    inputs = plural(fidelity.examples, "input", "inputs")
    examples = (
        f"{fidelity.examples:,} held-out {inputs}"
        if fidelity.is_held_out
        else f"{fidelity.examples:,} {inputs} of the training"
    )
    error = f"the outputs differ by {_percent(fidelity.relative_error)} %"
    if fidelity.box_f1 is not None:
        return f"On {examples}, the boxes match the original's with an F1 score of {fidelity.box_f1:.2f} %; {error}."
    if fidelity.agreement is None:
        return f"On {examples}, {error} from the original's."
    if fidelity.mean_iou is not None:
        return (
            f"On {examples}, {fidelity.agreement:.2f} % of the pixels have the original's class, and the mean IoU is "
            f"{fidelity.mean_iou:.2f} %; {error}."
        )
    return f"On {examples}, {fidelity.agreement:.2f} % of the answers are the original's; {error}."


def _advice(evidence: Evidence, level: VerdictLevel) -> str | None:
    """List what helps, the most effective first; None if nothing is needed."""
    advice = []
    if evidence.original_accuracy is not None and evidence.original_accuracy <= _FOREIGN_DATA_ACCURACY:
        advice.append(
            f"The original's accuracy is only {evidence.original_accuracy:.2f} %, so this says little: check that "
            "the data set, its labels and its scaling match this network."
        )
    if _is_rough(evidence.fidelity):
        count = evidence.fidelity.examples
        measured = plural(count, "example was", "examples were")
        advice.append(f"Only {count:,} {measured} measured, so the percentages are rough; more data make them certain.")
    if evidence.better_alternatives:
        verb = "is" if len(evidence.better_alternatives) == 1 else "are"
        advice.append(f"{_listed(evidence.better_alternatives)} {verb} no larger and at least as accurate.")
    if level is VerdictLevel.FAITHFUL:
        return " ".join(advice) or None
    if _is_short(evidence):
        advice.append(
            f"The training of {evidence.steps:,} steps was too short: this network needs about "
            f"{evidence.recommended_steps:,}, which is the default."
        )
    if evidence.has_predictor:
        advice.append(
            "Quantized weights of the same size are more accurate: choose the representation quantized, no options of "
            f"a predictor, and a target size of {evidence.file_bytes:,} bytes."
        )
    elif not _is_short(evidence):
        advice.append(f"Choose a larger target size, such as {_larger(evidence):,} bytes.")
    return " ".join(advice)


def _is_rough(fidelity: Fidelity | None) -> TypeGuard[Fidelity]:
    """Return True if answers were counted on so few examples that chance has a large part in it."""
    return fidelity is not None and fidelity.agreement is not None and fidelity.examples < FEW_EXAMPLES


def _percent(share: float) -> str:
    """Format a share in percent with two significant digits, or all digits before the point; never with an exponent."""
    percent = 100 * share
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.2g}"


def _is_short(evidence: Evidence) -> bool:
    needed = evidence.recommended_steps
    return needed is not None and 0 < evidence.steps < _SHORT_TRAINING * needed


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _larger(evidence: Evidence) -> int:
    """Return a larger size to try, in bytes, rounded up.

    If nothing was measured, it is the one whose errors are faithful: a bit more per weight halves them.
    """
    size = _MORE_BYTES * evidence.file_bytes
    if evidence.drop is None and evidence.fidelity is None:
        faithful = FAITHFUL_DISTILLED_ERROR if evidence.is_distilled else FAITHFUL_ERROR
        error = max([evidence.relative_error, *(evidence.layer_errors[name] for name in evidence.lost_layers)])
        size = evidence.file_bytes + evidence.weights / 8 * math.log2(error / (_AIM * faithful))
    unit: int = 10 ** max(0, len(str(round(size))) - 2)
    return math.ceil(size / unit) * unit
