"""Represent a checkpoint by quantized weights, for a size that is given or the smallest one that is accurate enough."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

from nern_core.codec import Encoding, QuantizedRepresentation, QuantizedWeights, encoded_size
from nern_core.decode import decode_encoding
from nern_core.encoding_run import EncodingRun
from nern_core.evaluate import Evaluator
from nern_core.fit import FitReport
from nern_core.observer import TRAINING_ENDS, TRAINING_STARTS
from nern_core.progress import Phase, Progress
from nern_core.rate_distortion.quantize import Quantized, Training, quantize
from nern_core.rate_distortion.search import chosen_size, search_size
from nern_core.report import SizeTrial
from nern_core.training.clock import Budget, Clock, Share
from nern_core.training.held_out import hold_out
from nern_core.training.image_source import image_source
from nern_core.training.loop import StepReport
from nern_core.training.teacher import Teacher

_TRIALS = 5
_SHARE_OF_TRIAL = 0.08
# The sizes that are searched have so many bits for a weight, and twice their kept tensors and names for all else.
_FEWEST_BITS, _MOST_BITS = 0.6, 6.0
_BYTES_OF_NAMES = 4096


def quantize_to_size(run: EncodingRun) -> tuple[Encoding, tuple[SizeTrial, ...]]:
    """Quantize the weights; train them if there are images to train on. Also returns the sizes that were tried.

    Raises `NernError` (`target_too_small`, `diverged`).
    """
    run.stopwatch.on_progress(Progress(phase=Phase.DISTILLATION, fraction=TRAINING_STARTS))
    started = time.perf_counter()
    trials: tuple[SizeTrial, ...] = ()
    target = run.options.target(run.source.source.bytes)
    if target is None:
        trials, target = _search(run)
    left = 1 - len(trials) * _SHARE_OF_TRIAL

    def report(step: StepReport) -> None:
        run.observer(
            FitReport(phase=Phase.DISTILLATION, start=1 - left, share=left, earlier_steps=0, later_rounds=0, step=step)
        )

    encoding = _quantize(run, target, run.teacher, _part(run.budget, left), report)
    run.stopwatch.seconds[Phase.DISTILLATION.value] = time.perf_counter() - started
    return encoding, trials


def _search(run: EncodingRun) -> tuple[tuple[SizeTrial, ...], int]:
    """Try sizes with short trainings on a part of the training images, and measure on the others, changed."""
    teacher, source = run.teacher, run.source
    assert teacher is not None
    assert teacher.images is not None
    assert source.architecture is not None
    assert run.options.max_drop is not None
    rest, held_out = hold_out(teacher.images)
    evaluator = Evaluator(
        architecture=source.architecture, images=held_out, preprocessing=teacher.preprocessing, device=run.device
    )
    original = evaluator.accuracy(run.tensors)
    done = 0

    def drop_of(size: int) -> float:
        nonlocal done
        start = done * _SHARE_OF_TRIAL
        done += 1

        def tell(step: StepReport) -> None:
            fraction = start + _SHARE_OF_TRIAL * step.clock.fraction
            run.stopwatch.on_progress(
                Progress(
                    phase=Phase.DISTILLATION, fraction=TRAINING_STARTS + (TRAINING_ENDS - TRAINING_STARTS) * fraction
                )
            )

        shortened = _part(run.budget, _SHARE_OF_TRIAL)
        encoding = _quantize(run, size, replace(teacher, images=rest), shortened, tell)
        return original - evaluator.accuracy(decode_encoding(encoding).tensors)

    smallest, largest = _sizes_to_search(run)
    trials = search_size(drop_of, smallest, largest, run.options.max_drop, _TRIALS)
    return trials, chosen_size(trials, largest, run.options.max_drop)


def _sizes_to_search(run: EncodingRun) -> tuple[int, int]:
    represented = {layer.name for layer in run.source.layers} | set(run.source.tied)
    weights = sum(layer.weights for layer in run.source.layers)
    kept = sum(tensor.numel() for name, tensor in run.tensors.items() if name not in represented)
    smallest, largest = (
        math.ceil(weights * bits / 8) + 2 * kept + _BYTES_OF_NAMES for bits in (_FEWEST_BITS, _MOST_BITS)
    )
    return smallest, largest


def _part(budget: Budget, share: float) -> Budget:
    return budget.part(Share(seconds=share, steps=share))


def _quantize(
    run: EncodingRun, target: int, teacher: Teacher | None, budget: Budget, on_step: Callable[[StepReport], None]
) -> Encoding:
    training = None
    clock = Clock(budget)
    if teacher is not None:
        images = image_source(run.recipe.distillation, teacher, run.generator)
        if images is not None:
            training = Training(teacher=teacher, images=images, clock=clock, on_step=on_step)
    quantized = quantize(
        run.tensors,
        run.source.layers,
        None if teacher is None else teacher.network,
        run.recipe.quantization,
        target,
        lambda draft: encoded_size(_encoding(run, draft)),
        training,
    )
    return _encoding(run, quantized)


def _encoding(run: EncodingRun, quantized: Quantized) -> Encoding:
    return Encoding(
        document=run.document(QuantizedRepresentation(), quantized.tied),
        weights=QuantizedWeights(quantized.layers),
        kept=quantized.kept,
    )
