"""Quantize a checkpoint for a file of a given size."""

import math
from collections.abc import Callable
from dataclasses import replace

from nern_core.contract.errors import NernError
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


def quantize_for_size(
    quantizer: Quantizer, plan: RoundingPlan, target: int, size_of: SizeOf, training: TrainingInputs
) -> tuple[Quantized, float]:
    """Quantize and train for a file of at most `target` bytes; `size_of` returns the size of a file.

    Also returns the seconds of training. Raises `NernError` (`target_too_small`, `diverged`).
    """
    parameters, wanted_bits = _started(quantizer, plan, target, size_of)
    seconds = _train(training, quantizer, parameters, wanted_bits)
    return _fitted(quantizer, parameters, target, size_of), seconds


def quantize_for_rate(
    quantizer: Quantizer, plan: RoundingPlan, bits_per_weight: float, training: TrainingInputs
) -> tuple[Quantized, float]:
    """Quantize and train at about `bits_per_weight` bits per weight; also return the seconds of training.

    Raises `NernError` (`diverged`).
    """
    bits = bits_per_weight * quantizer.weights
    parameters = quantizer.start(plan, bits)
    seconds = _train(training, quantizer, parameters, bits)
    return quantizer.rounded(parameters), seconds


def _train(training: TrainingInputs, quantizer: Quantizer, parameters: QuantizedParameters, bits: float) -> float:
    """Train the parameters in place, and move them to the CPU; return the seconds of training."""
    trainer = Trainer(training, quantizer, parameters, bits)
    trainer.run(1.0)
    parameters.cpu()
    return trainer.seconds


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
