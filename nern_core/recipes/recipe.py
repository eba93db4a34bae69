"""The format of a recipe."""

from dataclasses import dataclass, field
from typing import Literal

from nern_core.representations.predicted.distill import DistillationConfig
from nern_core.representations.predicted.predictor import PredictorVariant
from nern_core.representations.predicted.reconstruct import ReconstructionConfig
from nern_core.training.quantization import QuantizationConfig
from nern_core.training.synthesis import SynthesisConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All settings of an encoding that its options do not contain.

    The shares of the phases sum to 1, in seconds and in steps. Without data, reconstruction gets the whole budget. With
    `one_schedule`, one optimizer and one cosine decay run over all phases; otherwise each phase has its own.
    `synthesis` makes images from a network with batch normalization.

    With a target size there is no predictor: `quantization` replaces both phases, with the images of distillation and
    the squared difference of logits.

    Without a budget, training has `default_steps`, or as many steps as two ordinary cores take in about
    `default_seconds`: exactly one of the two is given. `stored_dtype` is the dtype of the predictor's parameters in the
    file.
    """

    predictor: PredictorVariant
    scaled_targets: bool
    stored_dtype: Literal["float16", "float32"]
    default_steps: int | None = None
    default_seconds: float | None = None
    one_schedule: bool
    reconstruction: ReconstructionConfig
    distillation: DistillationConfig
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    synthesis: SynthesisConfig | None = None

    @property
    def data_free(self) -> bool:
        """Return True if training images are not used, even if they are available."""
        return self.distillation.images != "training"
