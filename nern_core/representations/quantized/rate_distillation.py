"""Train quantized weights for a number of bits: the loss of distillation plus a price for every bit.

The price shapes the weights: those that matter little move to integers that take few bits. It leaves out filters that
the loss has not depended on so far, such as those of a branch that no input takes: they are only rounded. The total is
held at the target by making all steps larger or smaller together, which hardly changes the current weights.
"""

import math
from contextlib import nullcontext

import torch
from torch import Tensor

from nern_core.container.step_grid import STEPS_PER_OCTAVE
from nern_core.networks.model_inputs import ModelInputs
from nern_core.representations.quantized.parameters import QuantizedParameters
from nern_core.representations.quantized.rate import RateModel
from nern_core.representations.quantized.settings import QuantizationConfig
from nern_core.training.input_source import InputSource
from nern_core.training.loss import Batch, Loss
from nern_core.training.losses import squared_logit_error
from nern_core.training.optim import Optimizers, learning_rate
from nern_core.training.precision import has_bfloat16_units, mixed_precision
from nern_core.training.snapshots import State
from nern_core.training.student import Student
from nern_core.training.teacher import Teacher

# Distributions change slowly, and fitting them takes about as long as a step.
_STEPS_BETWEEN_FITS = 10
_LARGEST_CHANGE = 0.02
_MEMORY_OF_LOSS = 0.95
# Of bfloat16, as a share of the squared error that training starts with.
_TOLERATED_NOISE = 0.02
_BETAS = (0.9, 0.99)
_FINAL_SHARE = 0.002


class RateDistillation(Loss):
    """The loss of a batch: the distance of the logits from the teacher's, plus the bits at their price.

    The integers are held at `wanted_bits`, which may change during training.
    """

    def __init__(
        self,
        config: QuantizationConfig,
        parameters: QuantizedParameters,
        wanted_bits: float,
        teacher: Teacher,
        student: Student,
        images: InputSource,
        probe: ModelInputs | None = None,
    ) -> None:
        """`probe` is a batch to choose the precision with."""
        self._config = config
        self._parameters = parameters
        self.wanted_bits = wanted_bits
        self._teacher = teacher
        self._student = student
        self._images = images
        self.device = teacher.device
        self.weights = sum(latent.numel() for latent in parameters.latents)
        self._rate = RateModel(parameters.integers())
        # Unknown before the first step. It stays on the loss's device, so that no step waits for its value.
        self._present_loss = torch.full((), torch.nan, device=self.device)
        self._steps = 0
        self._is_mixed = probe is None or self._tolerates_bfloat16(probe)

    def state(self) -> State:
        """Return the current price of a bit, the rate model's state, and the wanted bits."""
        return {
            "rate": self._rate.state(),
            "present_loss": self._present_loss,
            "steps": self._steps,
            "wanted_bits": self.wanted_bits,
            "reached": self._parameters.reached,
            "filter_steps": list(self._parameters.filter_steps),
        }

    def restore(self, state: State) -> None:
        """Restore a state."""
        self._rate.restore(state["rate"])
        self._parameters.reached.copy_(state["reached"])
        with torch.no_grad():
            for steps, saved in zip(self._parameters.filter_steps, state["filter_steps"], strict=True):
                steps.copy_(saved)
        self._present_loss.copy_(state["present_loss"])
        self._steps = state["steps"]
        self.wanted_bits = state["wanted_bits"]

    def want(self, bits: float) -> None:
        """Hold the integers at another number of bits from now on; all steps change at once, by the estimated factor.

        They change by whole steps of their grid, so that the weights before rounding stay the same.
        """
        octaves = (self.wanted_bits - bits) / self.weights
        self._parameters.enlarge_steps(round(octaves * STEPS_PER_OCTAVE) / STEPS_PER_OCTAVE)
        self._rate.fit(self._parameters.integers())
        self.wanted_bits = bits

    def draw(self, fraction: float) -> Batch:
        """Draw images. From time to time the rate model is refitted first."""
        if self._steps and self._steps % _STEPS_BETWEEN_FITS == 0:
            self._rate.fit(self._parameters.integers())
        self._steps += 1
        return Batch(tensors={"images": self._images.choose()}, settings=(self.wanted_bits,))

    def compute(self, batch: Batch) -> Tensor:
        """Return the scalar loss of these images. Adjusts the steps first, to hold the bits at the target."""
        self._hold_target()
        loss = self._distance(self._images.inputs(*batch.tensors["images"]))
        price = self._config.price * self._present(loss.detach()) / self.weights
        total: Tensor = loss + price * self._rate.bits(self._parameters.priced())
        return total

    def _distance(self, inputs: ModelInputs) -> Tensor:
        """Return the squared difference of the logits of a batch of images."""
        # Outside, so that kernels are computed from their frequencies in float32.
        weights = self._parameters.weights()
        with mixed_precision(self.device) if self._is_mixed else nullcontext():
            expected = self._teacher.logits(inputs)
            logits = self._student.logits(weights, inputs)
        return squared_logit_error(logits, expected)

    @torch.no_grad()
    def _tolerates_bfloat16(self, inputs: ModelInputs) -> bool:
        """Return True if bfloat16 changes the teacher's outputs much less than the initial rounding does."""
        if not has_bfloat16_units(self.device):
            return False
        expected = self._teacher.logits(inputs)
        distance = squared_logit_error(self._student.logits(self._parameters.weights(), inputs), expected)
        with mixed_precision(self.device):
            noise = squared_logit_error(self._teacher.logits(inputs), expected)
        return bool(noise <= _TOLERATED_NOISE * distance)

    def _present(self, loss: Tensor) -> Tensor:
        """Return the running mean of the finite losses, including this one."""
        known = torch.where(self._present_loss.isnan(), loss, self._present_loss)
        mean = known.lerp(loss, 1 - _MEMORY_OF_LOSS)
        return self._present_loss.copy_(torch.where(loss.isfinite(), mean, self._present_loss))

    def _hold_target(self) -> None:
        excess = self._rate.bits_of_rounded(list(self._parameters.latents)) / self.wanted_bits - 1
        change = (self._config.gain * excess).clamp(-_LARGEST_CHANGE, _LARGEST_CHANGE)
        self._parameters.enlarge_steps(change / math.log(2))


def quantization_optimizers(config: QuantizationConfig, parameters: QuantizedParameters) -> Optimizers:
    """Make Adam with the learning rates of a configuration, for parameters on their current device."""
    peaks = (
        (parameters.latents, config.learning_rate),
        (parameters.vectors, config.vector_learning_rate),
    )
    device = parameters.device
    groups = [{"params": list(members), "lr": learning_rate(peak, device)} for members, peak in peaks if len(members)]
    adam = torch.optim.Adam(groups, betas=_BETAS, capturable=device.type == "cuda")
    return Optimizers([adam], lambda peak, decay: peak * (decay + _FINAL_SHARE))
