"""The parsed contents of a `.nern` file."""

from dataclasses import dataclass

from torch import Tensor

from nern_core.container.document import Document, PredictorRepresentation, QuantizedRepresentation
from nern_core.container.kept import Kept
from nern_core.contract.errors import NernError
from nern_core.representations.quantized.layer import QuantizedLayer


@dataclass(frozen=True, slots=True)
class PredictedWeights:
    """The predictor's `parameters` by name, and the `orders` of the kernels, one per layer (None: raster order)."""

    parameters: dict[str, Tensor]
    orders: tuple[Tensor | None, ...]


@dataclass(frozen=True, slots=True)
class QuantizedWeights:
    """The layers as integers, one for each layer of the document."""

    layers: tuple[QuantizedLayer, ...]


@dataclass(frozen=True, slots=True)
class Encoding:
    """A document, the weights in its representation, and the tensors that are not represented."""

    document: Document
    weights: PredictedWeights | QuantizedWeights
    kept: dict[str, Kept]

    @property
    def predicted(self) -> tuple[PredictorRepresentation, PredictedWeights]:
        """Return the predictor and its description. Raises `NernError` (`no_predictor`) for quantized weights."""
        representation, weights = self.document.representation, self.weights
        if isinstance(representation, QuantizedRepresentation) or isinstance(weights, QuantizedWeights):
            raise NernError(
                "no_predictor",
                "The file holds quantized weights, not a predictor; encode with `representation` `predictor`.",
            )
        return representation, weights

    def order(self, index: int) -> Tensor | None:
        """Return the order of the kernels of a layer; None for raster order."""
        return self.weights.orders[index] if isinstance(self.weights, PredictedWeights) else None
