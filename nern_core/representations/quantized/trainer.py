"""Train quantized weights in one or several stages, with one optimizer for all of them."""

from collections.abc import Callable
from dataclasses import dataclass

from nern_core.networks.input_batch import InputBatch
from nern_core.networks.model_inputs import ModelInputs
from nern_core.representations.quantized.parameters import QuantizedParameters
from nern_core.representations.quantized.quantizer import Quantizer
from nern_core.representations.quantized.rate_distillation import RateDistillation, quantization_optimizers
from nern_core.representations.quantized.settings import QuantizationConfig
from nern_core.training.clock import Budget, Clock, Share
from nern_core.training.input_source import InputSource
from nern_core.training.loop import StepReport, train
from nern_core.training.loss import Loss
from nern_core.training.snapshots import Snapshots
from nern_core.training.teacher import Teacher


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the budget: its start, 0 to 1, and its share; `earlier_steps` is the number of steps before it."""

    start: float
    share: float
    earlier_steps: int

    def total_steps(self, clock: Clock, budget: Budget) -> int | None:
        """Count the steps of all stages that share the budget: given, or estimated from the speed of this one."""
        in_stage = clock.total_steps
        if budget.steps is not None:
            # Every stage has at least one step, however small the budget is.
            return max(budget.steps, self.earlier_steps + (in_stage or 0))
        if in_stage is None:
            return None
        later = max(0.0, 1 - self.start - self.share)
        return self.earlier_steps + round(in_stage * (1 + later / self.share))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingInputs:
    """The inputs of training: settings, a teacher, images, a budget, a callback for steps, and snapshots.

    `probe` is a batch of images to choose the precision with. `held_out` are batches that are not among the `images`.
    """

    config: QuantizationConfig
    teacher: Teacher
    images: InputSource
    budget: Budget
    on_step: Callable[[Stage, StepReport], None]
    snapshots: Snapshots
    probe: ModelInputs | None = None
    held_out: tuple[InputBatch, ...] = ()


class Trainer:
    """Trains `parameters` in place; `loss` holds their integers at the wanted bits.

    `steps` and `seconds` are totals of all stages so far.
    """

    def __init__(
        self, training: TrainingInputs, quantizer: Quantizer, parameters: QuantizedParameters, wanted_bits: float
    ) -> None:
        teacher = training.teacher
        self._training = training
        self.parameters = parameters.to(teacher.device)
        self.loss = RateDistillation(
            training.config,
            parameters,
            wanted_bits,
            teacher,
            quantizer.student(teacher),
            training.images,
            training.probe,
        )
        self._optimizer = quantization_optimizers(training.config, self.parameters)
        self._used = 0.0
        self.steps = 0
        self.seconds = 0.0

    def run(self, share: float, window: tuple[float, float] = (0.0, 1.0), loss: Loss | None = None) -> None:
        """Train for a share of the budget, with `loss` in place of its own loss if given.

        `window` is the start and length of the stage on the optimizer's schedule. Raises `NernError` (`diverged`).
        """
        training = self._training
        stage = Stage(self._used, share, self.steps)
        clock = Clock(training.budget.part(Share(seconds=share, steps=share)))
        train(
            loss or self.loss,
            self._optimizer,
            clock,
            window,
            lambda step: training.on_step(stage, step),
            training.snapshots,
        )
        self._used += share
        self.steps += clock.step
        self.seconds += clock.elapsed
