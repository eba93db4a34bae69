"""Quantize a checkpoint so that the file has a wanted size."""

from collections.abc import Callable
from dataclasses import replace

from nern_core.errors import NernError
from nern_core.left_out import describe_left_out
from nern_core.rate_distortion.parameters import QuantizedParameters
from nern_core.rate_distortion.quantizer import Quantized, Quantizer
from nern_core.rate_distortion.rate import RateModel
from nern_core.rate_distortion.trainer import Trainer, Training
from nern_core.rate_distortion.trim import trimmed

# More bits for a weight than this change no decision of a network, fewer leave nothing of it.
MOST_BITS_PER_WEIGHT, FEWEST_BITS_PER_WEIGHT = 8.0, 0.05
# What the integers are aimed at, of what there is room for: the last estimate is off by less.
_AIM = 0.998
_MOST_TRIMS = 20
# In octaves: an eighth of a cell of the grid.
_SMALLEST_CHANGE_OF_STEPS = 1 / 64
SizeOf = Callable[[Quantized], int]


def quantize_for_size(
    quantizer: Quantizer, target: int, size_of: SizeOf, training: Training
) -> tuple[Quantized, float]:
    """Quantize and train for a file of at most `target` bytes; `size_of` says how large a file is.

    Also returns the seconds of training. Raises `NernError` (`target_too_small`, `diverged`).
    """
    parameters, wanted_bits = _started(quantizer, target, size_of)
    seconds = _train(training, quantizer, parameters, wanted_bits)
    return _fitted(quantizer, parameters, target, size_of), seconds


def quantize_for_rate(quantizer: Quantizer, bits_per_weight: float, training: Training) -> tuple[Quantized, float]:
    """Quantize and train, with about so many bits for a weight; also returns the seconds of training.

    Raises `NernError` (`diverged`).
    """
    bits = bits_per_weight * quantizer.weights
    parameters = quantizer.start(bits)
    seconds = _train(training, quantizer, parameters, bits)
    return quantizer.rounded(parameters), seconds


def _train(training: Training, quantizer: Quantizer, parameters: QuantizedParameters, bits: float) -> float:
    """Train the parameters in place, which end on the CPU; returns the seconds that it took."""
    trainer = Trainer(training, quantizer, parameters, bits)
    trainer.run(1.0)
    parameters.cpu()
    return trainer.seconds


def too_small(quantizer: Quantizer, target: int, others: float) -> NernError:
    """Say that a target has no room for the weights beside what else is in the file."""
    smallest = others + FEWEST_BITS_PER_WEIGHT * quantizer.weights / 8
    return NernError(
        "target_too_small",
        f"A file of {target:,} bytes has no room for the weights: all else takes {others:,.0f} bytes; "
        f"aim for {smallest:,.0f} or more.{describe_left_out(quantizer.left_out)}",
    )


def _started(quantizer: Quantizer, target: int, size_of: SizeOf) -> tuple[QuantizedParameters, float]:
    """Parameters that take about the target's bytes, and the bits that their integers may take."""
    bits = float(quantizer.weights)
    # What is not integers hardly depends on them: the second estimate is exact to within some bytes.
    for _ in range(2):
        parameters = quantizer.start(bits)
        integer_bits = float(RateModel(parameters.integers()).bits_of_rounded(list(parameters.latents)))
        others = size_of(quantizer.rounded(parameters)) - integer_bits / 8
        bits = 8 * _AIM * (target - others)
        if bits < FEWEST_BITS_PER_WEIGHT * quantizer.weights:
            raise too_small(quantizer, target, others)
        bits = min(bits, MOST_BITS_PER_WEIGHT * quantizer.weights)
    return parameters, bits


def _fitted(quantizer: Quantizer, parameters: QuantizedParameters, target: int, size_of: SizeOf) -> Quantized:
    """Round the parameters for a file of at most `target` bytes.

    Small integers are made smaller; where they are large, steps are made coarser.
    Raises `NernError` (`target_too_small`).
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
            # One step less saves hardly anything of a large integer; coarser steps save a bit a weight and octave.
            parameters.enlarge_steps(max(8 * excess / quantizer.weights, _SMALLEST_CHANGE_OF_STEPS))
            smaller = quantizer.rounded(parameters)
            left = size_of(smaller) - target
        result, excess = smaller, left
    raise NernError("target_too_small", f"No file of {target:,} bytes could be made; aim for more.")
