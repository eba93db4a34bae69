"""Train quantized weights for a number of bits: the loss of distillation, and a price for every bit.

The price shapes the weights: those that matter little move to integers that cost little. What all of them take is
held at the target by making all steps larger or smaller together, which the present weights hardly notice.
"""

import math

import torch
from torch import Tensor

from nern_core.losses import squared_logit_error
from nern_core.optim import cosine_decay, optimizers_state, restore_optimizers
from nern_core.precision import mixed_precision
from nern_core.quantized.grid import STEPS_PER_OCTAVE
from nern_core.rate_distortion.parameters import QuantizedParameters
from nern_core.rate_distortion.rate import RateModel
from nern_core.snapshots import State
from nern_core.training.images import ImageSource
from nern_core.training.quantization import QuantizationConfig
from nern_core.training.student import Student
from nern_core.training.teacher import Teacher

# Distributions change slowly, and fitting them takes about as long as a step.
_STEPS_BETWEEN_FITS = 10
_LARGEST_CHANGE = 0.02
_MEMORY_OF_LOSS = 0.95
_BETAS = (0.9, 0.99)
_FINAL_SHARE = 0.002


class RateDistillation:
    """The loss of a batch: how far the logits are from the teacher's, and the bits at their price.

    The integers are held at `wanted_bits`, which may change on the way.
    """

    def __init__(
        self,
        config: QuantizationConfig,
        parameters: QuantizedParameters,
        wanted_bits: float,
        teacher: Teacher,
        student: Student,
        images: ImageSource,
    ) -> None:
        self._config = config
        self._parameters = parameters
        self.wanted_bits = wanted_bits
        self._teacher = teacher
        self._student = student
        self._images = images
        self.weights = sum(latent.numel() for latent in parameters.latents)
        self._rate = RateModel(parameters.integers())
        self._present_loss = 0.0
        self._steps = 0

    def state(self) -> State:
        """The present price of a bit, what it is counted by, and the bits that are wanted."""
        return {
            "rate": self._rate.state(),
            "present_loss": self._present_loss,
            "steps": self._steps,
            "wanted_bits": self.wanted_bits,
        }

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self._rate.restore(state["rate"])
        self._present_loss, self._steps = state["present_loss"], state["steps"]
        self.wanted_bits = state["wanted_bits"]

    def want(self, bits: float) -> None:
        """Hold the integers at other bits from now on; all steps change at once, about as much as that takes.

        They move by whole steps of their grid, so that the weights before rounding stay what they are.
        """
        octaves = (self.wanted_bits - bits) / self.weights
        self._parameters.enlarge_steps(2.0 ** (round(octaves * STEPS_PER_OCTAVE) / STEPS_PER_OCTAVE))
        self._rate.fit(self._parameters.integers())
        self.wanted_bits = bits

    def __call__(self, fraction: float) -> Tensor:
        """Scalar loss of a new batch of images. Holds the bits at the target before."""
        self._hold_target()
        loss = self._distance()
        value = float(loss.detach())
        if self._steps == 1:
            self._present_loss = value
        self._present_loss += (1 - _MEMORY_OF_LOSS) * (value - self._present_loss)
        price = self._config.price * self._present_loss / self.weights
        total: Tensor = loss + price * self._rate.bits(list(self._parameters.latents))
        return total

    def _distance(self) -> Tensor:
        """The squared difference of the logits of a new batch of images."""
        inputs = self._images.draw()
        with mixed_precision(self._teacher.device):
            expected = self._teacher.logits(inputs)
            logits = self._student.logits(self._parameters.weights(), inputs)
        return squared_logit_error(logits, expected)

    def _hold_target(self) -> None:
        if self._steps and self._steps % _STEPS_BETWEEN_FITS == 0:
            self._rate.fit(self._parameters.integers())
        self._steps += 1
        excess = self._rate.bits_of_rounded(list(self._parameters.latents)) / self.wanted_bits - 1
        change = self._config.gain * excess
        self._parameters.enlarge_steps(math.exp(max(-_LARGEST_CHANGE, min(_LARGEST_CHANGE, change))))


class QuantizationSteps:
    """Adam with the rates of a configuration, which fall along a cosine."""

    def __init__(self, config: QuantizationConfig, parameters: QuantizedParameters) -> None:
        rates = (
            (parameters.latents, config.learning_rate),
            (parameters.log_steps, config.step_learning_rate),
            (parameters.vectors, config.vector_learning_rate),
        )
        groups = [{"params": list(members), "lr": rate} for members, rate in rates if len(members)]
        self._optimizer = torch.optim.Adam(groups, betas=_BETAS)
        self._peaks = [group["lr"] for group in self._optimizer.param_groups]

    def state(self) -> State:
        """The parameters, and what Adam remembers of their gradients."""
        return optimizers_state([self._optimizer])

    def restore(self, state: State) -> None:
        """Go on from a state."""
        restore_optimizers([self._optimizer], state)

    def step(self, fraction: float) -> None:
        """Step, then clear the gradients."""
        decay = cosine_decay(fraction)
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * (decay + _FINAL_SHARE)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
