"""Settings of a predictor and its training."""

from dataclasses import dataclass
from typing import Literal

from nern_core.representations.predicted.distill import DistillationConfig
from nern_core.representations.predicted.predictor import PredictorVariant
from nern_core.representations.predicted.reconstruct import ReconstructionConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorSettings:
    """The predictor's variant, its targets, and the two phases of its training.

    The shares of the phases sum to 1, in seconds and in steps. Without images, reconstruction gets the whole budget.
    With `one_schedule`, one optimizer and one cosine decay run over all phases; otherwise each phase has its own.
    `stored_dtype` is the dtype of the parameters in the file.
    """

    variant: PredictorVariant
    scaled_targets: bool
    stored_dtype: Literal["float16", "float32"]
    one_schedule: bool
    reconstruction: ReconstructionConfig
    distillation: DistillationConfig
