"""Quantize a checkpoint for a file of a given size."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from nern_core.contract.errors import NernError
from nern_core.representations.quantized.held_out_error import HeldOutError
from nern_core.representations.quantized.parameters import QuantizedParameters
from nern_core.representations.quantized.quantizer import Quantized, Quantizer
from nern_core.representations.quantized.rate import RateModel
from nern_core.representations.quantized.rounding_plan import RoundingPlan
from nern_core.representations.quantized.trainer import Trainer, TrainingInputs
from nern_core.representations.quantized.trim import trimmed

# More bits per weight do not change a network's outputs; with fewer, nothing of the network is left.
MOST_BITS_PER_WEIGHT, FEWEST_BITS_PER_WEIGHT = 8.0, 0.05
# Target of the integers as a share of the available room: the last estimate is off by less.
_AIM = 0.998
_MOST_TRIMS = 20
# In bytes: the header holds the target, and the estimate of everything but the integers is inexact.
_MARGIN = 32
# In octaves: an eighth of a cell of the grid.
_SMALLEST_CHANGE_OF_STEPS = 1 / 64
SizeOf = Callable[[Quantized], int]


@dataclass(frozen=True, slots=True)
class TrainedWeights:
    """Quantized weights after `seconds` of training, if any; without `has_improved`, they are those before it."""

    quantized: Quantized
    seconds: float = 0.0
    has_improved: bool = True


def quantize_for_size(
    quantizer: Quantizer, plan: RoundingPlan, target: int, size_of: SizeOf, training: TrainingInputs
) -> TrainedWeights:
    """Quantize and train for a file of at most `target` bytes; `size_of` returns the size of a file.

    Raises `NernError` (`target_too_small`, `diverged`).
    """

    def started() -> tuple[QuantizedParameters, float]:
        return _started(quantizer, plan, target, size_of)

    parameters, seconds, has_improved = _trained(training, quantizer, started)
    return TrainedWeights(_fitted(quantizer, parameters, target, size_of), seconds, has_improved)


def quantize_for_rate(
    quantizer: Quantizer, plan: RoundingPlan, bits_per_weight: float, training: TrainingInputs
) -> TrainedWeights:
    """Quantize and train at about `bits_per_weight` bits per weight. Raises `NernError` (`diverged`)."""
    bits = bits_per_weight * quantizer.weights

    def started() -> tuple[QuantizedParameters, float]:
        return quantizer.start(plan, bits), bits

    parameters, seconds, has_improved = _trained(training, quantizer, started)
    return TrainedWeights(quantizer.rounded(parameters), seconds, has_improved)


def _trained(
    training: TrainingInputs, quantizer: Quantizer, started: Callable[[], tuple[QuantizedParameters, float]]
) -> tuple[QuantizedParameters, float, bool]:
    """Train from the start, on the CPU at the end; return the seconds, and True if the held-out error is smaller.

    If it is not, the weights are those of the start. Without held-out batches, training counts as an improvement.
    """
    parameters, wanted_bits = started()
    trainer = Trainer(training, quantizer, parameters, wanted_bits)
    error = None
    if training.held_out:
        error = HeldOutError(training.teacher, quantizer.student(training.teacher), training.held_out)
    before = math.inf if error is None else error.of(parameters)
    trainer.run(1.0)
    has_improved = error is None or error.of(parameters) < before
    if not has_improved:
        parameters, _ = started()
    parameters.cpu()
    return parameters, trainer.seconds, has_improved


def too_small(quantizer: Quantizer, target: int, smallest: int) -> NernError:
    """Make the error for a target below the `smallest` useful file, in bytes."""
    return NernError(
        "target_too_small",
        f"A file of {target:,} bytes has no room for the weights; use a target of at least "
        f"{smallest + _MARGIN:,} bytes.{quantizer.left_out}",
    )


def _started(
    quantizer: Quantizer, plan: RoundingPlan, target: int, size_of: SizeOf
) -> tuple[QuantizedParameters, float]:
    """Return parameters that take about the target's bytes, and the target for the bits of their integers."""
    bits = float(quantizer.weights)
    # The rest of the file hardly depends on the integers: the second estimate is exact to within some bytes.
    for _ in range(2):
        parameters = quantizer.start(plan, bits)
        integer_bits = float(RateModel(parameters.integers()).bits_of_rounded(list(parameters.latents)))
        others = size_of(quantizer.rounded(parameters)) - integer_bits / 8
        bits = 8 * _AIM * (target - others)
        if bits < FEWEST_BITS_PER_WEIGHT * quantizer.weights:
            fewest_bytes = FEWEST_BITS_PER_WEIGHT * quantizer.weights / 8 / _AIM
            raise too_small(quantizer, target, math.ceil(others + fewest_bytes))
        bits = min(bits, MOST_BITS_PER_WEIGHT * quantizer.weights)
    return parameters, bits


def _fitted(quantizer: Quantizer, parameters: QuantizedParameters, target: int, size_of: SizeOf) -> Quantized:
    """Round the parameters for a file of at most `target` bytes.

    Small integers are made smaller; large ones get coarser steps. Raises `NernError` (`target_too_small`).
    """
    latents = list(parameters.latents)
    result = quantizer.rounded(parameters)
    excess = size_of(result) - target
    for _ in range(_MOST_TRIMS):
        if excess <= 0:
            return result
        integers = trimmed(latents, result.integers, 8.0 * (excess + 8))
        smaller = replace(result, layers=parameters.quantized_layers(integers))
        left = size_of(smaller) - target
        if left > excess / 2:
            # Reducing a large integer by one saves almost nothing; coarser steps save one bit per weight and octave.
            parameters.enlarge_steps(max(8 * excess / quantizer.weights, _SMALLEST_CHANGE_OF_STEPS))
            smaller = quantizer.rounded(parameters)
            left = size_of(smaller) - target
        result, excess = smaller, left
    raise NernError("target_too_small", f"No file of at most {target:,} bytes could be made; use a larger target.")
