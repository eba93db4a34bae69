"""The accuracy drop of a quantized file, measured on images that are held out from training."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from nern_core.contract.options import Tier
from nern_core.inputs.task import EncodingTask, TrainingPlan
from nern_core.networks.evaluate import Evaluator
from nern_core.representations.quantized.quantized_file import QuantizedFile
from nern_core.representations.quantized.quantizer import Quantized
from nern_core.training.expected_drop import OriginalAnswers, PointsLost
from nern_core.training.held_out import hold_out
from nern_core.training.teacher import Teacher

# Measuring one size takes at most this share of the budget, but uses at least `_IMAGES_OF_PROBE` images.
_SHARE_OF_MEASURE = 0.02
# The same for the tier that takes seconds, of the budget that training would have.
_SHARE_OF_INSTANT_MEASURE = 0.004
_IMAGES_OF_PROBE = 100
# The cost of a training step in forward passes of its images: one of the teacher, three of the student.
_ANSWERS_PER_IMAGE = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """The bytes of a file, and its loss of accuracy on some images."""

    bytes: int
    loss: PointsLost


def hold_out_and_measure(
    task: EncodingTask, plan: TrainingPlan, file: QuantizedFile
) -> tuple[Teacher, Callable[[Quantized], Measured]]:
    """Return the teacher with the images to train on, and a function that measures a file on the held-out ones.

    The task has a teacher with labelled images.
    """
    teacher, evaluator = task.teacher, task.source.evaluator(task.device)
    assert teacher is not None
    assert teacher.images is not None
    assert evaluator is not None
    rest, held_out = hold_out(teacher.images)
    evaluator = _quick_enough(replace(evaluator, images=held_out), teacher, task, plan)
    original = OriginalAnswers(evaluator.logits(task.tensors), evaluator.images.labels)

    def measure(quantized: Quantized) -> Measured:
        return Measured(file.size(quantized), original.loss(evaluator.logits(file.decoded(quantized))))

    return replace(teacher, images=rest), measure


def _quick_enough(evaluator: Evaluator, teacher: Teacher, task: EncodingTask, plan: TrainingPlan) -> Evaluator:
    """Reduce the images if evaluating all of them would take too long for the budget."""
    budget = plan.budget
    if budget.steps is not None:
        images = teacher.examples_per_step(plan.images.per_step)
        share = _SHARE_OF_INSTANT_MEASURE if task.options.tier is Tier.INSTANT else _SHARE_OF_MEASURE
        affordable = int(share * budget.steps * images * _ANSWERS_PER_IMAGE)
        return evaluator.with_images(max(_IMAGES_OF_PROBE, affordable))
    assert budget.seconds is not None
    probe = evaluator.with_images(_IMAGES_OF_PROBE)
    probe.logits(task.tensors)
    started = time.perf_counter()
    probe.logits(task.tensors)
    seconds_of_image = (time.perf_counter() - started) / len(probe.images)
    affordable = int(_SHARE_OF_MEASURE * budget.seconds / seconds_of_image)
    return evaluator.with_images(max(_IMAGES_OF_PROBE, affordable))
