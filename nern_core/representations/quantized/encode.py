"""Represent a checkpoint by quantized weights, for a given size or for one that preserves the network."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from nern_core.analysis.report import SizeTrial
from nern_core.container import Encoding, QuantizedRepresentation, QuantizedWeights, encoded_size
from nern_core.contract.progress import Phase
from nern_core.decode import decode_encoding
from nern_core.encoding.run import EncodingRun
from nern_core.networks.evaluate import Evaluator
from nern_core.representations.predicted.fit import FitReport
from nern_core.representations.quantized.for_size import quantize_for_rate, quantize_for_size
from nern_core.representations.quantized.quantizer import Quantized, Quantizer
from nern_core.representations.quantized.trainer import Stage, Training
from nern_core.representations.quantized.within_drop import DropGoal, Measured, quantize_within_drop
from nern_core.representations.quantized.without_training import quantize_faithfully, quantize_without_training
from nern_core.training.expected_drop import OriginalAnswers
from nern_core.training.held_out import hold_out
from nern_core.training.image_source import image_source
from nern_core.training.images import images_per_batch
from nern_core.training.loop import StepReport
from nern_core.training.observer import TRAINING_STARTS
from nern_core.training.teacher import Teacher

# Measuring one size takes at most this share of the budget, but uses at least `_IMAGES_OF_PROBE` images.
_SHARE_OF_MEASURE = 0.02
_IMAGES_OF_PROBE = 100
# The cost of a training step in forward passes of its images: one of the teacher, three of the student.
_ANSWERS_PER_IMAGE = 4
# The goal if no size is requested. Below `least_bits`, a few images cannot estimate the drop closely enough.
_DEFAULT_GOAL = DropGoal(max_drop=0.5, least_bits=3.0)
# Synthesized images cannot tell the accuracy drop of a file; this many bits keep ResNet20 within 0.15 points.
_BITS_ON_SYNTHESIZED_IMAGES = 4.0


def quantize(run: EncodingRun) -> tuple[Encoding, tuple[SizeTrial, ...]]:
    """Quantize the weights, and train them if there are images; also return the sizes that were tried.

    Raises `NernError` (`target_too_small`, `diverged`).
    """
    target, goal = run.options.target(run.source.tensor_bytes), _goal(run)
    with run.stopwatch.training(Phase.QUANTIZATION, at=TRAINING_STARTS) as seconds:
        trials: tuple[SizeTrial, ...] = ()
        if target is not None:
            quantized, trained = _for_size(run, target)
        elif goal is not None:
            quantized, trials, trained = _within_drop(run, goal)
        else:
            quantized, trained = _faithfully(run)
        seconds[Phase.DISTILLATION] = trained
    return _encoding(run, quantized), trials


def _goal(run: EncodingRun) -> DropGoal | None:
    """Return the accuracy drop that decides the size; None without training images or time to train."""
    if run.options.max_drop is not None:
        return DropGoal(run.options.max_drop)
    has_images = run.teacher is not None and run.teacher.images is not None
    return _DEFAULT_GOAL if has_images and run.affords_training else None


def _for_size(run: EncodingRun, target: int) -> tuple[Quantized, float]:
    """Quantize for a file of `target` bytes, with training if there are images; also return its seconds."""
    training = None if run.teacher is None else _training(run, run.teacher)
    quantizer = _quantizer(run, training)
    if training is None:
        return quantize_without_training(quantizer, target, partial(_size_of, run)), 0.0
    return quantize_for_size(quantizer, target, partial(_size_of, run), training)


def _within_drop(run: EncodingRun, goal: DropGoal) -> tuple[Quantized, tuple[SizeTrial, ...], float]:
    rest, measure = _hold_out(run)
    training = _training(run, rest)
    assert training is not None
    return quantize_within_drop(_quantizer(run, training), goal, measure, training, lambda: _untrained(run))


def _faithfully(run: EncodingRun) -> tuple[Quantized, float]:
    """Quantize at a size that preserves the weights; also return the seconds of training, if any."""
    synthesized = run.teacher is not None and run.teacher.synthesized is not None
    training = _training(run, run.teacher) if run.teacher is not None and synthesized else None
    if training is None:
        return _untrained(run), 0.0
    return quantize_for_rate(_quantizer(run, training), _BITS_ON_SYNTHESIZED_IMAGES, training)


def _untrained(run: EncodingRun) -> Quantized:
    """Round the weights without training: no larger than int8 with zstd, and more accurate."""
    return quantize_faithfully(_quantizer(run, None), partial(_size_of, run))


def _quantizer(run: EncodingRun, training: Training | None) -> Quantizer:
    network = None if run.teacher is None else run.teacher.network
    return Quantizer(
        run.tensors, run.source.layers, network, training=training is not None, kernels=run.options.represented
    )


def _training(run: EncodingRun, teacher: Teacher) -> Training | None:
    """Return the settings of training; None without the images that the recipe needs."""
    images = image_source(run.recipe.distillation, teacher, run.generator)
    if images is None:
        return None

    def report(stage: Stage, step: StepReport) -> None:
        run.observer(
            FitReport(
                phase=Phase.DISTILLATION,
                start=stage.start,
                share=stage.share,
                earlier_steps=stage.earlier_steps,
                total_steps=stage.total_steps(step.clock, run.budget),
                step=step,
            )
        )

    return Training(
        config=run.recipe.quantization,
        teacher=teacher,
        images=images,
        budget=run.budget,
        on_step=report,
        snapshots=run.snapshots,
    )


def _hold_out(run: EncodingRun) -> tuple[Teacher, Callable[[Quantized], Measured]]:
    """Return the teacher with the images to train on, and a function that measures a file on the held-out images."""
    teacher, evaluator = run.teacher, run.source.evaluator(run.device)
    assert teacher is not None
    assert teacher.images is not None
    assert evaluator is not None
    rest, held_out = hold_out(teacher.images)
    evaluator = _quick_enough(replace(evaluator, images=held_out), run)
    original = OriginalAnswers(evaluator.logits(run.tensors), evaluator.images.labels)

    def measure(quantized: Quantized) -> Measured:
        encoding = _encoding(run, quantized)
        logits = evaluator.logits(decode_encoding(encoding).tensors)
        return Measured(encoded_size(encoding), original.loss(logits))

    return replace(teacher, images=rest), measure


def _quick_enough(evaluator: Evaluator, run: EncodingRun) -> Evaluator:
    """Reduce the images if evaluating all of them would take too long for the budget."""
    if run.budget.steps is not None:
        images = images_per_batch(
            run.recipe.distillation.images_per_step, evaluator.preprocessing.input_size, run.device
        )
        affordable = int(_SHARE_OF_MEASURE * run.budget.steps * images * _ANSWERS_PER_IMAGE)
        return evaluator.with_images(max(_IMAGES_OF_PROBE, affordable))
    assert run.budget.seconds is not None
    probe = evaluator.with_images(_IMAGES_OF_PROBE)
    probe.logits(run.tensors)
    started = time.perf_counter()
    probe.logits(run.tensors)
    seconds_of_image = (time.perf_counter() - started) / len(probe.images)
    affordable = int(_SHARE_OF_MEASURE * run.budget.seconds / seconds_of_image)
    return evaluator.with_images(max(_IMAGES_OF_PROBE, affordable))


def _size_of(run: EncodingRun, quantized: Quantized) -> int:
    return encoded_size(_encoding(run, quantized))


def _encoding(run: EncodingRun, quantized: Quantized) -> Encoding:
    return Encoding(
        document=run.document(QuantizedRepresentation(), quantized.tied),
        weights=QuantizedWeights(quantized.layers),
        kept=quantized.kept,
    )
