"""Progress of an encoding, as it is told to whoever asked for it. Torch-free."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """The stages of an encoding, in the order in which they happen."""

    READING = "reading"
    RECONSTRUCTION = "reconstruction"
    REFINEMENT = "refinement"
    DISTILLATION = "distillation"
    WRITING = "writing"
    EVALUATION = "evaluation"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """One observation. `fraction` is of the whole encoding, `step` and `total` are of the phase.

    `total` is an estimate where the budget is in seconds; `seconds_left` is of the training phases.
    """

    phase: Phase
    step: int = 0
    total: int | None = None
    fraction: float = 0.0
    loss: float | None = None
    steps_per_second: float | None = None
    seconds_left: float | None = None


OnProgress = Callable[[Progress], None]
