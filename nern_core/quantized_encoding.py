"""Represent a checkpoint by quantized weights, for a size that is given or the smallest one that is accurate enough."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from nern_core.codec import Encoding, QuantizedRepresentation, QuantizedWeights, encoded_size
from nern_core.decode import decode_encoding
from nern_core.encoding_run import EncodingRun
from nern_core.evaluate import Evaluator
from nern_core.fit import FitReport
from nern_core.observer import TRAINING_STARTS
from nern_core.progress import Phase, Progress
from nern_core.rate_distortion.for_size import quantize_for_size
from nern_core.rate_distortion.quantizer import Quantized, Quantizer
from nern_core.rate_distortion.trainer import Stage, Training
from nern_core.rate_distortion.within_drop import Measured, quantize_within_drop
from nern_core.rate_distortion.without_training import quantize_faithfully, quantize_without_training
from nern_core.report import SizeTrial
from nern_core.training.expected_drop import OriginalAnswers
from nern_core.training.held_out import hold_out
from nern_core.training.image_source import image_source
from nern_core.training.loop import StepReport
from nern_core.training.teacher import Teacher

# Measuring a size takes at most this part of the budget, but has so many images in any case.
_SHARE_OF_MEASURE = 0.02
_IMAGES_OF_PROBE = 100


def quantize_to_size(run: EncodingRun) -> tuple[Encoding, tuple[SizeTrial, ...]]:
    """Quantize the weights; train them if there are images to train on. Also returns the sizes that were tried.

    Raises `NernError` (`target_too_small`, `diverged`).
    """
    run.stopwatch.on_progress(Progress(phase=Phase.DISTILLATION, fraction=TRAINING_STARTS))
    target = run.options.target(run.source.source.bytes)
    trials: tuple[SizeTrial, ...] = ()
    if target is not None:
        training = None if run.teacher is None else _training(run, run.teacher)
        quantizer = _quantizer(run, training)
        seconds = 0.0
        if training is None:
            quantized = quantize_without_training(quantizer, target, partial(_size_of, run))
        else:
            quantized, seconds = quantize_for_size(quantizer, target, partial(_size_of, run), training)
    else:
        assert run.options.max_drop is not None
        rest, measure = _hold_out(run)
        training = _training(run, rest)
        assert training is not None
        quantizer = _quantizer(run, training)
        quantized, trials, seconds = quantize_within_drop(quantizer, run.options.max_drop, measure, training)
    run.stopwatch.add(Phase.DISTILLATION, seconds)
    return _encoding(run, quantized), trials


def quantize_untrained(run: EncodingRun) -> Encoding:
    """Round the weights, without training: no larger than int8 with zstd, and more faithful."""
    return _encoding(run, quantize_faithfully(_quantizer(run, None), partial(_size_of, run)))


def _quantizer(run: EncodingRun, training: Training | None) -> Quantizer:
    network = None if run.teacher is None else run.teacher.network
    return Quantizer(run.tensors, run.source.layers, network, training=training is not None)


def _training(run: EncodingRun, teacher: Teacher) -> Training | None:
    """How to train; None if the images that the recipe wants are not there."""
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
                later_rounds=0,
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
    """The teacher with the images to train on, and what measures a file by those that were held out."""
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
    """Fewer images where looking at all of them would take too long for a budget in seconds."""
    if run.budget.seconds is None:
        return evaluator
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
