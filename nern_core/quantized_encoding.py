"""Represent a checkpoint by quantized weights, for a size that is given or the smallest one that is accurate enough."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from nern_core.codec import Encoding, QuantizedRepresentation, QuantizedWeights, encoded_size
from nern_core.decode import decode_encoding
from nern_core.encoding_run import EncodingRun
from nern_core.evaluate import Evaluator
from nern_core.fit import FitReport
from nern_core.observer import TRAINING_ENDS, TRAINING_STARTS
from nern_core.progress import Phase, Progress
from nern_core.rate_distortion.parameters import QuantizedParameters
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
    target = run.options.target(run.source.source.bytes)
    start = _search(run) if target is None else _Start(target)
    left = 1 - len(start.trials) * _SHARE_OF_TRIAL

    def report(step: StepReport) -> None:
        run.observer(
            FitReport(phase=Phase.DISTILLATION, start=1 - left, share=left, earlier_steps=0, later_rounds=0, step=step)
        )

    quantized = _quantize(run, start.target, run.teacher, _part(run.budget, left), report, start.trained)
    return _encoding(run, quantized), start.trials


@dataclass(frozen=True, slots=True)
class _Start:
    """Where the last training starts: its size, the trials that led to it, and what they have trained so far."""

    target: int
    trials: tuple[SizeTrial, ...] = ()
    trained: QuantizedParameters | None = None


def _search(run: EncodingRun) -> _Start:
    """Find the smallest size that is accurate enough."""
    assert run.options.max_drop is not None
    smallest, largest = _sizes_to_search(run)
    trials = _Trials(run)
    tried = search_size(trials.drop_of, smallest, largest, run.options.max_drop, _TRIALS)
    return _Start(chosen_size(tried, largest, run.options.max_drop), tried, trials.trained)


class _Trials:
    """Short trainings on a part of the training images, each of which goes on from the one before.

    What a size costs is measured on the other images, changed. Later trials have been trained for longer, and the last
    training for longer still: what it costs in the end is less than what was measured.
    """

    def __init__(self, run: EncodingRun) -> None:
        teacher, source = run.teacher, run.source
        assert teacher is not None
        assert teacher.images is not None
        assert source.architecture is not None
        rest, held_out = hold_out(teacher.images)
        self._run = run
        self._teacher = replace(teacher, images=rest)
        self._evaluator = Evaluator(
            architecture=source.architecture, images=held_out, preprocessing=teacher.preprocessing, device=run.device
        )
        self._original = self._evaluator.accuracy(run.tensors)
        self._count = 0
        self.trained: QuantizedParameters | None = None

    def drop_of(self, size: int) -> float:
        """Points of accuracy that a file of so many bytes costs."""
        run = self._run
        start = self._count * _SHARE_OF_TRIAL
        self._count += 1

        def tell(step: StepReport) -> None:
            fraction = start + _SHARE_OF_TRIAL * step.clock.fraction
            run.stopwatch.on_progress(
                Progress(
                    phase=Phase.DISTILLATION, fraction=TRAINING_STARTS + (TRAINING_ENDS - TRAINING_STARTS) * fraction
                )
            )

        quantized = _quantize(run, size, self._teacher, _part(run.budget, _SHARE_OF_TRIAL), tell, self.trained)
        self.trained = quantized.parameters
        return self._original - self._evaluator.accuracy(decode_encoding(_encoding(run, quantized)).tensors)


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
    run: EncodingRun,
    target: int,
    teacher: Teacher | None,
    budget: Budget,
    on_step: Callable[[StepReport], None],
    trained: QuantizedParameters | None,
) -> Quantized:
    training = None
    clock = Clock(budget)
    if teacher is not None:
        images = image_source(run.recipe.distillation, teacher, run.generator)
        if images is not None:
            training = Training(teacher=teacher, images=images, clock=clock, on_step=on_step, snapshots=run.snapshots)
    quantized = quantize(
        run.tensors,
        run.source.layers,
        None if teacher is None else teacher.network,
        run.recipe.quantization,
        target,
        lambda draft: encoded_size(_encoding(run, draft)),
        training,
        trained,
    )
    run.stopwatch.add(Phase.DISTILLATION, clock.elapsed)
    return quantized


def _encoding(run: EncodingRun, quantized: Quantized) -> Encoding:
    return Encoding(
        document=run.document(QuantizedRepresentation(), quantized.tied),
        weights=QuantizedWeights(quantized.layers),
        kept=quantized.kept,
    )
