"""The JSON document of a `.nern` file: all that decoding needs beside the tensors."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, field_serializer

from nern_core.kernels import KernelLayer
from nern_core.options import EncodeOptions, Permutation
from nern_core.predictor import PredictorConfig
from nern_core.quantized.grid import LARGEST_EXPONENT
from nern_core.tensor_claims import MOST_DIMENSIONS


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """The checkpoint file that was encoded."""

    sha256: str
    bytes: int


class PredictorRepresentation(_Part):
    """Weights are what a predictor says of their coordinates, times `scale`."""

    kind: Literal["predictor"] = "predictor"
    predictor: PredictorConfig
    permutation: Permutation
    scale: float = Field(gt=0, allow_inf_nan=False)


class QuantizedRepresentation(_Part):
    """Weights are integers times steps, and coordinates tell how the integers are distributed."""

    kind: Literal["quantized"] = "quantized"


Representation = Annotated[PredictorRepresentation | QuantizedRepresentation, Field(discriminator="kind")]


class Document(_Part):
    """What was encoded and how.

    `layers` is the coordinate table: the l-th entry holds the kernels of the coordinates (l, f, c) with
    f below its filters and c below its channels. `tensor_order` lists every tensor of the checkpoint, `tied`
    those that repeat another one, with its name.
    """

    architecture: str | None
    options: EncodeOptions
    representation: Representation
    layers: tuple[KernelLayer, ...] = Field(min_length=1)
    tied: dict[str, str]
    tensor_order: tuple[str, ...]
    source: Source

    @field_serializer("options", mode="wrap")
    def _about_the_file(self, options: EncodeOptions, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All options but that of the report alone: the file is the same with and without it."""
        written: dict[str, Any] = serialize(options)
        del written["direct_quantization"]
        return written


class KeptTensor(_Part):
    """A tensor that is not represented.

    Its values are all `constant`, or 8-bit integers times the step 2 ** (`exponent` / 8), or stored as they are.
    """

    name: str
    shape: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=MOST_DIMENSIONS)]
    dtype: str
    constant: int | float | None = None
    exponent: Annotated[int, Field(ge=-LARGEST_EXPONENT, le=LARGEST_EXPONENT)] | None = None


class Contents(_Part):
    """All of the JSON: the document, the lengths of the streams of bytes, and the kept tensors."""

    document: Document
    streams: tuple[Annotated[int, Field(ge=0)], ...]
    kept: tuple[KeptTensor, ...]
