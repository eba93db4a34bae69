"""The format of a recipe."""

from dataclasses import dataclass, field
from typing import Literal

from nern_core.predictor import PredictorVariant
from nern_core.training.distill import DistillationConfig
from nern_core.training.quantization import QuantizationConfig
from nern_core.training.reconstruct import ReconstructionConfig
from nern_core.training.synthesis import SynthesisConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything about an encoding that its options do not say.

    The shares of the phases add up to 1, in seconds and in steps. Without data, reconstruction has the
    whole budget. With `one_schedule`, one optimizer and one cosine decay run over all phases; otherwise
    each phase has its own. `synthesis` makes images from a network that has batch normalization.
    With a target size there is no predictor: `quantization` takes the place of both phases, with the images of
    distillation and the squared difference of logits.
    Without a budget, training has `default_steps`, or as many as two ordinary cores take in about `default_seconds`:
    exactly one is given. `stored_dtype` is what the predictor's parameters are rounded to in the file.
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
        """Whether training images are not looked at, even if they are there."""
        return self.distillation.images != "training"
