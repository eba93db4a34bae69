"""Weights in the form of a predictor, as a `.nern` file holds them."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from torch import Tensor

from nern_core.container.document import Document, Exponent
from nern_core.container.encoding import Encoding
from nern_core.container.file import bytes_tensor
from nern_core.contract.errors import NernError
from nern_core.contract.options import Permutation
from nern_core.contract.representations import PREDICTOR
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.predicted.permutation_streams import pack_order, unpack_order
from nern_core.representations.predicted.predictor import PredictorConfig, parameter_shapes


class PredictorDescription(BaseModel):
    """Weights are the predictor's outputs for their coordinates, times the scale of their layer.

    The scale of a layer is `scale` times 2 ** (exponent / 8), or 0 if the exponent is None. Files of format 4 have no
    exponents: all of their layers have the same scale.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["predictor"] = PREDICTOR
    predictor: PredictorConfig
    permutation: Permutation
    scale: float = Field(gt=0, allow_inf_nan=False)
    layer_exponents: tuple[Exponent | None, ...] = ()

    def as_json(self) -> dict[str, JsonValue]:
        """Return the description for the document of a file."""
        return self.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class PredictedWeights:
    """The predictor's `parameters` by name, and the `orders` of the kernels, one per layer (None: raster order)."""

    description: PredictorDescription
    parameters: dict[str, Tensor]
    orders: tuple[Tensor | None, ...]


def predicted_weights(encoding: Encoding[Any]) -> PredictedWeights:
    """Return the predictor of an encoding. Raises `NernError` (`no_predictor`) for another representation."""
    weights = encoding.weights
    if not isinstance(weights, PredictedWeights):
        raise NernError(
            "no_predictor",
            f"The file holds {encoding.document.kind} weights, not a predictor; encode with `representation` "
            "`predictor`.",
        )
    return weights


def read_description(document: Document) -> PredictorDescription:
    """Read the description of a predictor. Raises `NernError` (`bad_encoding`)."""
    try:
        description = PredictorDescription.model_validate_json(json.dumps(document.representation))
    except ValidationError as error:
        raise NernError(
            "bad_encoding",
            f"The .nern file is damaged: {error.error_count()} fields that describe its predictor are invalid.",
        ) from error
    if len(description.layer_exponents) not in {0, len(document.layers)}:
        raise NernError("bad_encoding", "The .nern file is damaged: it does not have one exponent per layer.")
    return description


def pack_orders(
    orders: Sequence[Tensor | None], layers: Sequence[KernelLayer], permutation: Permutation
) -> list[bytes]:
    """Pack the order of each layer into a stream; without a permutation there are no streams."""
    return [
        pack_order(order, layer.filters, layer.channels, permutation).numpy().tobytes()
        for order, layer in zip(orders, layers, strict=True)
        if order is not None
    ]


def unpack_orders(
    streams: Sequence[bytes], layers: Sequence[KernelLayer], permutation: Permutation
) -> tuple[Tensor | None, ...]:
    """Undo `pack_orders`. Raises `NernError` (`bad_encoding`)."""
    expected = 0 if permutation is Permutation.NONE else len(layers)
    if len(streams) != expected:
        raise NernError("bad_encoding", "The .nern file is damaged: it does not have one permutation per layer.")
    if permutation is Permutation.NONE:
        return (None,) * len(layers)
    return tuple(
        unpack_order(bytes_tensor(stream), layer.filters, layer.channels, permutation)
        for stream, layer in zip(streams, layers, strict=True)
    )


def split_parameters(config: PredictorConfig, layers: Sequence[KernelLayer], flat: Tensor | None) -> dict[str, Tensor]:
    """Cut concatenated parameters into tensors by name. Raises `NernError` (`bad_encoding`)."""
    shapes = parameter_shapes(config, layers)
    counts = [math.prod(shape) for shape in shapes.values()]
    if flat is None or flat.shape != (sum(counts),):
        raise NernError("bad_encoding", "The .nern file is damaged: its predictor does not have the declared shape.")
    if not flat.is_floating_point():
        raise NernError("bad_encoding", "The .nern file is damaged: the numbers of its predictor are of another dtype.")
    parts = flat.split(counts)
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
