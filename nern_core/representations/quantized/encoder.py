"""Represent a checkpoint by quantized weights, for a given size or for one that preserves the network."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from nern_core.container.encoding import Encoding
from nern_core.container.file import packed_size
from nern_core.container.rebuild import rebuild_checkpoint
from nern_core.contract.progress import Phase
from nern_core.contract.report import SizeTrial
from nern_core.inputs.task import EncodingTask, TrainingPlan
from nern_core.networks.evaluate import Evaluator
from nern_core.representations.protocol import Encoded
from nern_core.representations.quantized.curvature.measure import measure_curvature
from nern_core.representations.quantized.for_size import quantize_for_rate, quantize_for_size
from nern_core.representations.quantized.quantizer import Quantized, Quantizer
from nern_core.representations.quantized.rounding_plan import RoundingPlan
from nern_core.representations.quantized.settings import QuantizationConfig
from nern_core.representations.quantized.trainer import Stage, TrainingInputs
from nern_core.representations.quantized.untaught import describe_untaught
from nern_core.representations.quantized.weights import (
    QuantizedWeights,
    decoded_tensor,
    describe_quantized,
    pack_quantized,
)
from nern_core.representations.quantized.within_drop import DropGoal, Measured, quantize_within_drop
from nern_core.representations.quantized.without_training import quantize_faithfully, quantize_without_training
from nern_core.training.clock import Budget
from nern_core.training.expected_drop import OriginalAnswers
from nern_core.training.held_out import hold_out
from nern_core.training.image_source import input_source
from nern_core.training.loop import StepReport
from nern_core.training.observer import TRAINING_STARTS, TrainingStep
from nern_core.training.teacher import Teacher

# Measuring one size takes at most this share of the budget, but uses at least `_IMAGES_OF_PROBE` images.
_SHARE_OF_MEASURE = 0.02
_IMAGES_OF_PROBE = 100
# The cost of a training step in forward passes of its images: one of the teacher, three of the student.
_ANSWERS_PER_IMAGE = 4
# Batches that the curvature is measured with, as a share of those of the training, and limits on their number.
_SHARE_OF_CURVATURE = 0.03
_FEWEST_BATCHES, _MOST_BATCHES = 2, 12
# The goal if no size is requested. Below `least_bits`, a few images cannot estimate the drop closely enough.
_DEFAULT_GOAL = DropGoal(max_drop=0.5, least_bits=3.0)
# Inputs without labels cannot tell the accuracy drop of a file; this many bits keep ResNet20 within 0.15 points.
_BITS_WITHOUT_LABELS = 4.0


def _batches_to_measure(budget: Budget) -> int:
    """Return the number of batches to measure the curvature with: a small part of those of the training."""
    if budget.steps is None:
        return _MOST_BATCHES
    return min(max(_FEWEST_BATCHES, round(_SHARE_OF_CURVATURE * budget.steps)), _MOST_BATCHES)


class QuantizedEncoder:
    """Quantizes one checkpoint; `settings` are those of training."""

    def __init__(self, task: EncodingTask, training: TrainingPlan, settings: QuantizationConfig) -> None:
        self._task = task
        self._plan = training
        self._settings = settings

    def encode(self) -> Encoded:
        """Quantize the weights, and train them if there are images.

        Raises `NernError` (`target_too_small`, `diverged`).
        """
        target, goal = self._task.options.target(self._task.source.tensor_bytes), self._goal()
        trials: tuple[SizeTrial, ...] = ()
        with self._plan.stopwatch.training(Phase.QUANTIZATION, at=TRAINING_STARTS) as seconds:
            if target is not None:
                quantized, trained = self._for_size(target)
            elif goal is not None:
                quantized, trials, trained = self._within_drop(goal)
            else:
                quantized, trained = self._faithfully()
            seconds[Phase.DISTILLATION] = trained
        return Encoded(self._encoding(quantized), trials, describe_untaught(quantized, self._task.source.layers))

    def _goal(self) -> DropGoal | None:
        """Return the accuracy drop that decides the size; None without training images or time to train."""
        if self._task.options.max_drop is not None:
            return DropGoal(self._task.options.max_drop)
        has_images = self._task.teacher is not None and self._task.teacher.images is not None
        return _DEFAULT_GOAL if has_images and self._plan.is_worthwhile else None

    def _for_size(self, target: int) -> tuple[Quantized, float]:
        """Quantize for a file of `target` bytes, with training if there are images; also return its seconds."""
        training = None if self._task.teacher is None else self._training(self._task.teacher)
        quantizer = self._quantizer(training)
        plan = self._rounding_plan(quantizer, self._task.teacher)
        if training is None:
            return quantize_without_training(quantizer, plan, target, self._size), 0.0
        return quantize_for_size(quantizer, plan, target, self._size, training)

    def _within_drop(self, goal: DropGoal) -> tuple[Quantized, tuple[SizeTrial, ...], float]:
        rest, measure = self._hold_out()
        training = self._training(rest)
        assert training is not None
        quantizer = self._quantizer(training)
        plan = self._rounding_plan(quantizer, rest)
        return quantize_within_drop(quantizer, plan, goal, measure, training, self._untrained)

    def _faithfully(self) -> tuple[Quantized, float]:
        """Quantize at a size that preserves the weights; also return the seconds of training, if any."""
        teacher = self._task.teacher
        has_inputs = teacher is not None and (teacher.synthesized is not None or bool(teacher.batches))
        training = self._training(teacher) if teacher is not None and has_inputs else None
        if training is None:
            return self._untrained(), 0.0
        quantizer = self._quantizer(training)
        plan = self._rounding_plan(quantizer, teacher)
        return quantize_for_rate(quantizer, plan, _BITS_WITHOUT_LABELS, training)

    def _untrained(self) -> Quantized:
        """Round the weights without training: no larger than int8 with zstd, and more accurate."""
        quantizer = self._quantizer(None)
        return quantize_faithfully(quantizer, self._rounding_plan(quantizer, self._task.teacher), self._size)

    def _rounding_plan(self, quantizer: Quantizer, teacher: Teacher | None) -> RoundingPlan:
        """Plan the rounding by the curvature of the outputs on some inputs, if there are any."""
        if teacher is None:
            return quantizer.plan()
        # Numbers of its own, so that the training draws the same inputs after an interruption.
        generator = torch.Generator().manual_seed(self._task.options.seed)
        inputs = input_source(replace(self._plan.images, mixup=False), teacher, generator)
        if inputs is None:
            return quantizer.plan()
        batches = [inputs.inputs(*inputs.choose()) for _ in range(_batches_to_measure(self._plan.budget))]
        state = teacher.network.state_dict()
        layers = [layer for layer in quantizer.layers if layer.name in state]
        weights = {layer.name: state[layer.name].detach() for layer in layers}
        return quantizer.plan(measure_curvature(quantizer.student(teacher), layers, weights, batches, generator))

    def _quantizer(self, training: TrainingInputs | None) -> Quantizer:
        teacher, options = self._task.teacher, self._task.options
        network = None if teacher is None else teacher.network
        return Quantizer(
            self._task.tensors,
            self._task.source.layers,
            network,
            training=training is not None,
            kernels=options.represented,
        )

    def _training(self, teacher: Teacher) -> TrainingInputs | None:
        """Return the settings of training; None without the images that the recipe needs."""
        images = input_source(self._plan.images, teacher, self._plan.generator)
        if images is None:
            return None
        return TrainingInputs(
            config=self._settings,
            teacher=teacher,
            images=images,
            budget=self._plan.budget,
            on_step=self._report,
            snapshots=self._plan.snapshots,
        )

    def _report(self, stage: Stage, step: StepReport) -> None:
        self._plan.observer(
            TrainingStep(
                phase=Phase.DISTILLATION,
                start=stage.start,
                share=stage.share,
                earlier_steps=stage.earlier_steps,
                total_steps=stage.total_steps(step.clock, self._plan.budget),
                step=step,
            )
        )

    def _hold_out(self) -> tuple[Teacher, Callable[[Quantized], Measured]]:
        """Return the teacher with the images to train on, and a function that measures a file on the held-out ones."""
        teacher, evaluator = self._task.teacher, self._task.source.evaluator(self._task.device)
        assert teacher is not None
        assert teacher.images is not None
        assert evaluator is not None
        rest, held_out = hold_out(teacher.images)
        evaluator = self._quick_enough(replace(evaluator, images=held_out), teacher)
        original = OriginalAnswers(evaluator.logits(self._task.tensors), evaluator.images.labels)

        def measure(quantized: Quantized) -> Measured:
            return Measured(self._size(quantized), original.loss(evaluator.logits(self._decoded(quantized))))

        return replace(teacher, images=rest), measure

    def _quick_enough(self, evaluator: Evaluator, teacher: Teacher) -> Evaluator:
        """Reduce the images if evaluating all of them would take too long for the budget."""
        budget, tensors = self._plan.budget, self._task.tensors
        if budget.steps is not None:
            images = teacher.examples_per_step(self._plan.images.per_step)
            affordable = int(_SHARE_OF_MEASURE * budget.steps * images * _ANSWERS_PER_IMAGE)
            return evaluator.with_images(max(_IMAGES_OF_PROBE, affordable))
        assert budget.seconds is not None
        probe = evaluator.with_images(_IMAGES_OF_PROBE)
        probe.logits(tensors)
        started = time.perf_counter()
        probe.logits(tensors)
        seconds_of_image = (time.perf_counter() - started) / len(probe.images)
        affordable = int(_SHARE_OF_MEASURE * budget.seconds / seconds_of_image)
        return evaluator.with_images(max(_IMAGES_OF_PROBE, affordable))

    def _decoded(self, quantized: Quantized) -> Mapping[str, Tensor]:
        """Return all tensors as a file of these weights decodes to."""
        encoding = self._encoding(quantized)
        parts = zip(encoding.document.layers, quantized.layers, strict=True)
        represented = {layer.name: decoded_tensor(coded, layer) for layer, coded in parts}
        return rebuild_checkpoint(encoding.document, represented, quantized.kept).tensors

    def _size(self, quantized: Quantized) -> int:
        """Return the bytes of a file of these weights."""
        document = self._encoding(quantized).document
        return packed_size(document, pack_quantized(QuantizedWeights(quantized.layers)), quantized.kept)

    def _encoding(self, quantized: Quantized) -> Encoding[QuantizedWeights]:
        return Encoding(
            document=self._task.document(describe_quantized(), quantized.tied),
            weights=QuantizedWeights(quantized.layers),
            kept=quantized.kept,
        )
