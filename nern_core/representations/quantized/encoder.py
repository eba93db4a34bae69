"""Represent a checkpoint by quantized weights, for a given size or for one that preserves the network."""

from dataclasses import replace

import torch

from nern_core.contract.options import Tier
from nern_core.contract.progress import Phase
from nern_core.contract.report import SizeTrial
from nern_core.inputs.task import EncodingTask, TrainingPlan
from nern_core.networks.model_inputs import ModelInputs
from nern_core.representations.protocol import Encoded
from nern_core.representations.quantized.curvature.measure import measure_curvature
from nern_core.representations.quantized.drop_goal import DropGoal
from nern_core.representations.quantized.for_size import TrainedWeights, quantize_for_rate, quantize_for_size
from nern_core.representations.quantized.held_out_drop import hold_out_and_measure
from nern_core.representations.quantized.held_out_error import split_batches
from nern_core.representations.quantized.instant import quantize_for_rate_instantly, quantize_within_drop_instantly
from nern_core.representations.quantized.quantized_file import QuantizedFile
from nern_core.representations.quantized.quantizer import Quantized, Quantizer
from nern_core.representations.quantized.rounding_plan import RoundingPlan
from nern_core.representations.quantized.settings import QuantizationConfig
from nern_core.representations.quantized.trainer import Stage, TrainingInputs
from nern_core.representations.quantized.untaught import describe_untaught
from nern_core.representations.quantized.within_drop import quantize_within_drop
from nern_core.representations.quantized.without_training import quantize_faithfully, quantize_without_training
from nern_core.training.clock import Budget
from nern_core.training.image_source import ImageSettings, input_source
from nern_core.training.input_source import InputSource
from nern_core.training.loop import StepReport
from nern_core.training.observer import TRAINING_STARTS, TrainingStep
from nern_core.training.teacher import Teacher

# Batches that the curvature is measured with, as a share of those of the training, and limits on their number.
_SHARE_OF_CURVATURE = 0.06
_FEWEST_BATCHES, _MOST_BATCHES = 4, 12
# The goal if no size is requested. Below `least_bits`, a few images cannot estimate the drop closely enough.
_DEFAULT_GOAL = DropGoal(max_drop=0.5, least_bits=3.0)
# Inputs without labels cannot tell the accuracy drop of a file; this many bits keep ResNet20 within 0.15 points.
_BITS_WITHOUT_LABELS = 4.0
_NO_GAIN = (
    "Training did not reduce the error of the outputs on inputs that it does not use, so the weights are those before "
    "training; give more inputs, or fewer steps."
)


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
        self._file = QuantizedFile(task)
        chosen, is_free = task.options.tier, not task.options.has_target
        self._is_instant = chosen is Tier.INSTANT or (chosen is None and is_free and not training.is_worthwhile)

    def encode(self) -> Encoded:
        """Quantize the weights, and train them if there are images.

        Raises `NernError` (`target_too_small`, `diverged`).
        """
        target, goal = self._task.options.target(self._task.source.tensor_bytes), self._goal()
        trials: tuple[SizeTrial, ...] = ()
        with self._plan.stopwatch.training(Phase.QUANTIZATION, at=TRAINING_STARTS) as seconds:
            if target is not None:
                trained = self._for_size(target)
            elif goal is not None:
                trained, trials = self._within_drop(goal)
            else:
                trained = self._faithfully()
            seconds[Phase.DISTILLATION] = trained.seconds
        notes = describe_untaught(trained.quantized, self._task.source.layers) if trained.has_improved else (_NO_GAIN,)
        return Encoded(self._file.encoding(trained.quantized), trials, notes)

    def _goal(self) -> DropGoal | None:
        """Return the accuracy drop that decides the size; None without training images."""
        if self._task.options.max_drop is not None:
            return DropGoal(self._task.options.max_drop)
        has_images = self._task.teacher is not None and self._task.teacher.images is not None
        return _DEFAULT_GOAL if has_images else None

    def _for_size(self, target: int) -> TrainedWeights:
        """Quantize for a file of `target` bytes, with training if there are inputs."""
        teacher = self._task.teacher
        training = None if teacher is None else self._training(teacher)
        quantizer = self._quantizer(has_inputs=self._inputs(teacher) is not None)
        plan = self._rounding_plan(quantizer, teacher)
        if training is None:
            return TrainedWeights(quantize_without_training(quantizer, plan, target, self._file.size))
        return quantize_for_size(quantizer, plan, target, self._file.size, training)

    def _within_drop(self, goal: DropGoal) -> tuple[TrainedWeights, tuple[SizeTrial, ...]]:
        rest, measure = hold_out_and_measure(self._task, self._plan, self._file)
        quantizer = self._quantizer(has_inputs=True)
        plan = self._rounding_plan(quantizer, rest)
        training = self._training(rest)
        if training is None:
            quantized, trials = quantize_within_drop_instantly(quantizer, plan, goal, measure)
            return TrainedWeights(quantized), trials
        quantized, trials, seconds = quantize_within_drop(
            quantizer, plan, goal, measure, training, self._rounded_faithfully
        )
        return TrainedWeights(quantized, seconds), trials

    def _faithfully(self) -> TrainedWeights:
        """Quantize at a size that preserves the weights, with training if there are inputs."""
        teacher = self._task.teacher
        has_inputs = teacher is not None and (teacher.synthesized is not None or bool(teacher.batches))
        if teacher is None or not has_inputs:
            return TrainedWeights(self._rounded_faithfully())
        quantizer = self._quantizer(has_inputs=True)
        plan, training = self._rounding_plan(quantizer, teacher), self._training(teacher)
        if training is None:
            return TrainedWeights(quantize_for_rate_instantly(quantizer, plan, _BITS_WITHOUT_LABELS))
        return quantize_for_rate(quantizer, plan, _BITS_WITHOUT_LABELS, training)

    def _rounded_faithfully(self) -> Quantized:
        """Round the weights without training: no larger than int8 with zstd, and more accurate."""
        quantizer = self._quantizer(has_inputs=False)
        return quantize_faithfully(quantizer, self._rounding_plan(quantizer, self._task.teacher), self._file.size)

    def _rounding_plan(self, quantizer: Quantizer, teacher: Teacher | None) -> RoundingPlan:
        """Plan the rounding by the curvature of the outputs on some inputs, if there are any."""
        if teacher is None:
            return quantizer.plan()
        # Numbers of its own, so that the training draws the same inputs after an interruption.
        generator = torch.Generator().manual_seed(self._task.options.seed)
        inputs = self._inputs(teacher, generator)
        if inputs is None:
            return quantizer.plan()
        count = _MOST_BATCHES if self._is_instant else _batches_to_measure(self._plan.budget)
        batches = inputs.several(count)
        state = teacher.network.state_dict()
        layers = [layer for layer in quantizer.layers if layer.name in state]
        weights = {layer.name: state[layer.name].detach() for layer in layers}
        vectors = {name: vector.to(state[name]) for name, vector in quantizer.vectors.items()}
        student = quantizer.student(teacher)
        return quantizer.plan(measure_curvature(student, layers, weights, vectors, batches, generator, count))

    def _inputs(self, teacher: Teacher | None, generator: torch.Generator | None = None) -> InputSource | None:
        """Return inputs to measure the curvature with, not blended; None without data."""
        if teacher is None:
            return None
        images = replace(self._plan.images, mixup=False)
        return self._source(images, teacher, generator or self._plan.generator)

    def _source(self, images: ImageSettings, teacher: Teacher, generator: torch.Generator) -> InputSource | None:
        """Return inputs without those that judge the training; None if there are none."""
        if not self._is_instant:
            teacher = replace(teacher, batches=split_batches(teacher.batches)[0])
        return input_source(images, teacher, generator)

    def _probe(self, teacher: Teacher) -> ModelInputs | None:
        """Return a batch of inputs, always the same one, and without drawing from the numbers of the training."""
        inputs = self._inputs(teacher, torch.Generator().manual_seed(self._task.options.seed))
        return None if inputs is None else inputs.inputs(*inputs.choose())

    def _quantizer(self, *, has_inputs: bool) -> Quantizer:
        teacher, options = self._task.teacher, self._task.options
        network = None if teacher is None else teacher.network
        return Quantizer(
            self._task.tensors,
            self._task.source.layers,
            network,
            has_inputs=has_inputs,
            kernels=options.represented,
        )

    def _training(self, teacher: Teacher) -> TrainingInputs | None:
        """Return the settings of training; None for the instant tier, and without the images that the recipe needs."""
        if self._is_instant:
            return None
        images = self._source(self._plan.images, teacher, self._plan.generator)
        if images is None:
            return None
        return TrainingInputs(
            config=self._settings,
            teacher=teacher,
            images=images,
            budget=self._plan.budget,
            on_step=self._report,
            snapshots=self._plan.snapshots,
            probe=self._probe(teacher),
            held_out=split_batches(teacher.batches)[1],
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
