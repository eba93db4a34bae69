"""Progress reports of an encoding. Torch-free."""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field


class Phase(StrEnum):
    """The phases of an encoding, in their order."""

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
    """One progress report. `fraction` refers to the whole encoding, `step` and `total` to the phase.

    `total` is an estimate if the budget is in seconds. `seconds_left` refers to the training phases, and
    `kernels_per_second` to those that predict kernels.
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
