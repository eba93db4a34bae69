"""The JSON document of a `.nern` file: everything that decoding needs except the tensors."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_serializer,
    model_serializer,
    model_validator,
)

from nern_core.container.step_grid import LARGEST_EXPONENT
from nern_core.contract.options import EncodeOptions, Permutation, RepresentationName
from nern_core.formats.tensor_claims import LARGEST_SIZE, LONGEST_NAME, Shape
from nern_core.representations.predicted.predictor import PredictorConfig
from nern_core.tensors.kernels import KernelLayer

Exponent = Annotated[int, Field(ge=-LARGEST_EXPONENT, le=LARGEST_EXPONENT)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """The checkpoint file that was encoded."""

    sha256: str
    bytes: Annotated[int, Field(ge=0, le=LARGEST_SIZE)]


class PredictorRepresentation(_Part):
    """Weights are the predictor's outputs for their coordinates, times the scale of their layer.

    The scale of a layer is `scale` times 2 ** (exponent / 8), or 0 if the exponent is None. Files of format 4 have no
    exponents: all of their layers have the same scale.
    """

    kind: Literal["predictor"] = "predictor"
    predictor: PredictorConfig
    permutation: Permutation
    scale: float = Field(gt=0, allow_inf_nan=False)
    layer_exponents: tuple[Exponent | None, ...] = ()


class QuantizedRepresentation(_Part):
    """Weights are integers times steps; the distribution of the integers depends on their coordinates."""

    kind: Literal["quantized"] = "quantized"


Name = Annotated[str, Field(max_length=LONGEST_NAME)]


class FileNames(_Part):
    """The names in the checkpoint's file: `prefix` plus the name in the document, except for those in `others`."""

    prefix: Name = ""
    others: dict[str, Name] = {}

    @classmethod
    def of(cls, file_names: Mapping[str, str], names: Iterable[str]) -> Self:
        """Describe the names in a file, given `file_names` (by document name, where they differ) and all `names`."""
        given = {name: file_names.get(name, name) for name in names}
        prefixes = Counter(found.removesuffix(name) for name, found in given.items() if found.endswith(name))
        prefix = max(prefixes, key=lambda prefix: prefixes[prefix], default="")
        return cls(prefix=prefix, others={name: found for name, found in given.items() if found != prefix + name})

    def by_name(self, names: Iterable[str]) -> dict[str, str]:
        """Return the names in the file by those of the document, where they differ."""
        given = {name: self.others.get(name, self.prefix + name) for name in names}
        return {name: found for name, found in given.items() if found != name}


Representation = Annotated[PredictorRepresentation | QuantizedRepresentation, Field(discriminator="kind")]


class Document(_Part):
    """The description of the encoded checkpoint and of how it was encoded.

    `layers` is the coordinate table: entry l holds the kernels of the coordinates (l, f, c), where f is less than its
    filters and c less than its channels. `tensor_order` lists every tensor of the checkpoint; `tied` maps each tensor
    that repeats another one to the name of that one. `file_names`, `metadata` and `extra_states` are those of the
    `Checkpoint`; empty ones are left out of the file.
    """

    architecture: str | None
    options: EncodeOptions
    representation: Representation
    layers: tuple[KernelLayer, ...] = Field(min_length=1)
    tied: dict[str, str]
    tensor_order: tuple[str, ...]
    source: Source
    file_names: FileNames = FileNames()
    metadata: dict[Name, JsonValue] | None = None
    extra_states: dict[Name, JsonValue] = {}

    @model_serializer(mode="wrap")
    def _without_empty_parts(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out empty fields, because field names cost bytes, too."""
        written: dict[str, Any] = serialize(self)
        for name in ("file_names", "metadata", "extra_states"):
            if getattr(self, name) == type(self).model_fields[name].default:
                del written[name]
        return written

    @model_validator(mode="after")
    def _one_exponent_for_each_layer(self) -> Self:
        if isinstance(self.representation, PredictorRepresentation):
            count = len(self.representation.layer_exponents)
            if count not in {0, len(self.layers)}:
                raise ValueError("there must be one exponent per layer")
        return self

    @field_serializer("options", mode="wrap")
    def _about_the_file(self, options: EncodeOptions, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write all options except those that do not change the file."""
        written: dict[str, Any] = serialize(options)
        del written["direct_quantization"], written["fail_over"]
        if options.key is None:
            del written["key"]
        if options.representation is RepresentationName.AUTO:
            del written["representation"]
        return written


class KeptTensor(_Part):
    """A tensor that is not represented.

    Its values are all `constant`, or 8-bit integers times the step 2 ** (`exponent` / 8), or stored unchanged.
    """

    name: str
    shape: Shape
    dtype: str
    constant: int | float | None = None
    exponent: Exponent | None = None


class Contents(_Part):
    """The whole JSON: the document, the lengths of the byte streams, and the kept tensors."""

    document: Document
    streams: tuple[Annotated[int, Field(ge=0, le=LARGEST_SIZE)], ...]
    kept: tuple[KeptTensor, ...]
