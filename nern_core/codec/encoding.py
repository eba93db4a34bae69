"""What a `.nern` file holds, read."""

from dataclasses import dataclass

from torch import Tensor

from nern_core.codec.document import Document, PredictorRepresentation, QuantizedRepresentation
from nern_core.codec.kept import Kept
from nern_core.errors import NernError
from nern_core.quantized.layer import QuantizedLayer


@dataclass(frozen=True, slots=True)
class PredictedWeights:
    """The predictor's `parameters` by name, and the `orders` of the kernels, one per layer (None: raster order)."""

    parameters: dict[str, Tensor]
    orders: tuple[Tensor | None, ...]


@dataclass(frozen=True, slots=True)
class QuantizedWeights:
    """The layers as integers, one for each of the document."""

    layers: tuple[QuantizedLayer, ...]


@dataclass(frozen=True, slots=True)
class Encoding:
    """A document, the weights as its representation says, and the tensors that are not represented."""

    document: Document
    weights: PredictedWeights | QuantizedWeights
    kept: dict[str, Kept]

    @property
    def predicted(self) -> tuple[PredictorRepresentation, PredictedWeights]:
        """The predictor and its description. Raises `NernError` (`no_predictor`) where the weights are quantized."""
        representation, weights = self.document.representation, self.weights
        if isinstance(representation, QuantizedRepresentation) or isinstance(weights, QuantizedWeights):
            raise NernError(
                "no_predictor",
                "The file holds quantized weights and no predictor; encode without a target size to get one.",
            )
        return representation, weights

    def order(self, index: int) -> Tensor | None:
        """The order of the kernels of a layer, None for raster order."""
        return self.weights.orders[index] if isinstance(self.weights, PredictedWeights) else None
