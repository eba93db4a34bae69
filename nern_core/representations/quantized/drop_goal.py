"""The limit on the accuracy drop that decides the size of a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nern_core.contract.report import SizeTrial
from nern_core.representations.quantized.for_size import FEWEST_BITS_PER_WEIGHT
from nern_core.representations.quantized.quantizer import Quantized

FIRST_BITS_PER_WEIGHT: Final = 2.5
# A drop between this share of the limit and the limit ends the search.
_NEAR_ENOUGH = 0.85
# The drop aimed at, as a share of the limit, because estimates are inexact.
_AIM = 0.9
# The drop grows about as the bits to the power of -3.3.
_EXPONENT = 0.3

Trial = tuple[Quantized, SizeTrial]


@dataclass(frozen=True, slots=True)
class DropGoal:
    """The limit on the accuracy drop in points, and the fewest bits per weight that are tried."""

    max_drop: float
    least_bits: float = FEWEST_BITS_PER_WEIGHT

    def is_reached_by(self, drop: float) -> bool:
        """Return True if the drop is within the limit, but hardly below it."""
        return _NEAR_ENOUGH * self.max_drop <= drop <= self.max_drop

    def change_of_bits(self, drop: float) -> float:
        """Return the factor on the bits that is expected to turn this drop into the one aimed at."""
        factor: float = (drop / (_AIM * self.max_drop)) ** _EXPONENT
        return factor

    def best(self, trials: Sequence[Trial]) -> Trial:
        """Return the smallest trial within the limit, or the one with the smallest drop if all are above it."""
        accurate = [trial for trial in trials if trial[1].drop <= self.max_drop]
        if accurate:
            return min(accurate, key=lambda trial: trial[1].bytes)
        return min(trials, key=lambda trial: trial[1].drop)
