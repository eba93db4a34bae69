"""The format of a recipe."""

from dataclasses import dataclass, field

from nern_core.contract.representations import PREDICTOR, QUANTIZED
from nern_core.representations.predicted.settings import PredictorSettings
from nern_core.representations.quantized.settings import QuantizationConfig
from nern_core.training.image_source import ImageSettings
from nern_core.training.synthesis import SynthesisConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All settings of an encoding that its options do not contain.

    `images` are those of distillation; `synthesis` makes images from a network with batch normalization. `predictor`
    and `quantization` are the settings of the two representations.

    Without a budget, training has `default_steps`, or as many steps as two cores take in `default_seconds` at best:
    exactly one of the two is given.
    """

    images: ImageSettings
    predictor: PredictorSettings
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    synthesis: SynthesisConfig | None = None
    default_steps: int | None = None
    default_seconds: float | None = None

    def settings(self, representation: str) -> PredictorSettings | QuantizationConfig | None:
        """Return the settings of a representation; None for one that the recipe does not know."""
        if representation == PREDICTOR:
            return self.predictor
        return self.quantization if representation == QUANTIZED else None

    @property
    def data_free(self) -> bool:
        """Return True if training images are not used, even if they are available."""
        return self.images.source != "training"

    @property
    def compares_features(self) -> bool:
        """Return True if distillation compares feature maps, which only networks of one architecture share."""
        return bool(self.predictor.distillation.features.weight)
