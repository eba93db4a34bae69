"""Represent a checkpoint by quantized weights, for a target size."""

import time

from nern_core.codec import Encoding, QuantizedRepresentation, QuantizedWeights, encoded_size
from nern_core.encoding_run import EncodingRun
from nern_core.fit import FitReport
from nern_core.observer import TRAINING_STARTS
from nern_core.progress import Phase, Progress
from nern_core.rate_distortion.quantize import Quantized, Training, quantize
from nern_core.training.clock import Clock
from nern_core.training.image_source import image_source
from nern_core.training.loop import StepReport


def quantize_for(run: EncodingRun, target: int) -> Encoding:
    """Quantize the weights for a file of so many bytes; train them if there are images to train on.

    Raises `NernError` (`target_too_small`, `diverged`).
    """
    run.stopwatch.on_progress(Progress(phase=Phase.DISTILLATION, fraction=TRAINING_STARTS))
    started = time.perf_counter()

    def encoding_of(quantized: Quantized) -> Encoding:
        return Encoding(
            document=run.document(QuantizedRepresentation(), quantized.tied),
            weights=QuantizedWeights(quantized.layers),
            kept=quantized.kept,
        )

    def report(step: StepReport) -> None:
        run.observer(
            FitReport(phase=Phase.DISTILLATION, start=0.0, share=1.0, earlier_steps=0, later_rounds=0, step=step)
        )

    training = None
    if run.teacher is not None:
        images = image_source(run.recipe.distillation, run.teacher, run.generator)
        if images is not None:
            training = Training(teacher=run.teacher, images=images, clock=Clock(run.budget), on_step=report)
    quantized = quantize(
        run.tensors,
        run.source.layers,
        None if run.teacher is None else run.teacher.network,
        run.recipe.quantization,
        target,
        lambda draft: encoded_size(encoding_of(draft)),
        training,
    )
    run.stopwatch.seconds[Phase.DISTILLATION.value] = time.perf_counter() - started
    return encoding_of(quantized)
