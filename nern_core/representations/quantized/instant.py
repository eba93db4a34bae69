"""Quantize without training, by the curvature that some inputs show: for a rate, or within a limit on the drop."""

import math
from collections.abc import Callable

from nern_core.contract.report import SizeTrial
from nern_core.representations.quantized.drop_goal import FIRST_BITS_PER_WEIGHT, DropGoal
from nern_core.representations.quantized.for_size import MOST_BITS_PER_WEIGHT
from nern_core.representations.quantized.held_out_drop import Measured
from nern_core.representations.quantized.quantizer import Quantized, Quantizer
from nern_core.representations.quantized.rounding_plan import RoundingPlan
from nern_core.training.expected_drop import expected_drop

_MOST_TRIALS = 7
# As a share of the bits: smaller changes are not tried.
_SMALLEST_CHANGE = 0.02
# From one trial to the next, because small drops say little about much smaller files.
_LEAST_CHANGE = 0.6


def quantize_for_rate_instantly(quantizer: Quantizer, plan: RoundingPlan, bits_per_weight: float) -> Quantized:
    """Round the weights to about `bits_per_weight` bits per weight."""
    return quantizer.rounded_to(quantizer.rounding(plan, bits_per_weight * quantizer.weights))


def quantize_within_drop_instantly(
    quantizer: Quantizer, plan: RoundingPlan, goal: DropGoal, measure: Callable[[Quantized], Measured]
) -> tuple[Quantized, tuple[SizeTrial, ...]]:
    """Round the weights to the fewest bits with an accuracy drop of at most `goal.max_drop` points.

    Also returns the measured sizes, the result's last. If no trial is within the limit, the result is the one with the
    smallest drop.
    """
    low, high = goal.least_bits, MOST_BITS_PER_WEIGHT
    bits = max(FIRST_BITS_PER_WEIGHT, low)
    found: list[tuple[Quantized, SizeTrial]] = []
    while len(found) < _MOST_TRIALS:
        quantized = quantize_for_rate_instantly(quantizer, plan, bits)
        measured = measure(quantized)
        drop = expected_drop([measured.loss])
        found.append((quantized, SizeTrial(bytes=measured.bytes, drop=round(drop, 2))))
        if drop <= goal.max_drop:
            high = bits
        else:
            low = bits
        if high <= low * (1 + _SMALLEST_CHANGE) or goal.is_reached_by(drop):
            break
        bits = bits * max(goal.change_of_bits(drop), _LEAST_CHANGE)
        if not low < bits < high:
            bits = math.sqrt(low * high)
    best = goal.best(found)
    others = tuple(trial for _, trial in found if trial is not best[1])
    return best[0], (*others, best[1])
