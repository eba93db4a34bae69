"""Progress of an encoding, as it is told to whoever asked for it. Torch-free."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field


class Phase(StrEnum):
    """The stages of an encoding, in the order in which they happen."""

    STARTING = "starting"
    READING = "reading"
    SYNTHESIS = "synthesis"
    ORDERING = "ordering"
    QUANTIZATION = "quantization"
    RECONSTRUCTION = "reconstruction"
    DISTILLATION = "distillation"
    WRITING = "writing"
    EVALUATION = "evaluation"
    COMPARISON = "comparison"
    IMPORTANCE = "importance"
    PUBLICATION = "publication"


TRAINING_PHASES: Final = (Phase.SYNTHESIS, Phase.RECONSTRUCTION, Phase.DISTILLATION)


class Progress(BaseModel):
    """One observation. `fraction` is of the whole encoding, `step` and `total` are of the phase.

    `total` is an estimate where the budget is in seconds; `seconds_left` is of the training phases, and
    `kernels_per_second` of those that predict kernels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    phase: Phase
    step: Annotated[int, Field(ge=0)] = 0
    total: int | None = None
    fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    loss: float | None = None
    steps_per_second: float | None = None
    kernels_per_second: float | None = None
    seconds_left: float | None = None


OnProgress = Callable[[Progress], None]
