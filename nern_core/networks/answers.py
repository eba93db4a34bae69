"""Compare the answers of networks whose kind is known: language models, segmentation and detection networks."""

from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn

from nern_core.networks.detection.agreement import BoxMeter
from nern_core.networks.detection.heads import is_detector
from nern_core.networks.model_inputs import ModelInputs, call
from nern_core.networks.perplexity import PerplexityMeter, predicted_tokens
from nern_core.networks.segmentation import PixelMeter, output_of_classes

_LOGITS: Final = "logits"


class AnswerMeter:
    """Measures the answers of an original and of a changed network in the figures that are usual for their kind."""

    def __init__(self, original: nn.Module, changed: nn.Module) -> None:
        self._networks = original, changed
        self._is_detector = is_detector(original)
        self._classes = output_of_classes(original)
        self._perplexity, self._pixels, self._boxes = PerplexityMeter(), PixelMeter(), BoxMeter()

    def add(self, inputs: ModelInputs, original: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> None:
        """Add a batch: its inputs, and the outputs that are compared, all on the networks' device."""
        if (predicted := predicted_tokens(self._networks[0], inputs, original.get(_LOGITS))) is not None:
            self._perplexity.add(original[_LOGITS], changed[_LOGITS], *predicted)
        if self._classes is not None and self._classes in original:
            self._pixels.add(original[self._classes], changed[self._classes])
        if self._is_detector:
            self._boxes.add(*(call(network, inputs) for network in self._networks))

    def figures(self) -> dict[str, float]:
        """Return the figures by their names in a `Fidelity`, without those that these networks do not have."""
        found = {
            "agreement": self._pixels.agreement,
            "mean_iou": self._pixels.mean_iou,
            "box_f1": self._boxes.f1,
            "original_perplexity": self._perplexity.original,
            "reconstructed_perplexity": self._perplexity.changed,
        }
        return {name: value for name, value in found.items() if value is not None}
