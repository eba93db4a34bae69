"""The JSON document of a `.nern` file: everything that decoding needs except the tensors."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_serializer,
    model_serializer,
)

from nern_core.codec.steps import LARGEST_EXPONENT
from nern_core.contract.options import AUTO, EncodeOptions
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.formats.tensor_claims import LARGEST_SIZE, LONGEST_NAME, Shape

Exponent = Annotated[int, Field(ge=-LARGEST_EXPONENT, le=LARGEST_EXPONENT)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """The checkpoint that was encoded: its digest as `digest_checkpoint` returns it, and the bytes of its files."""

    sha256: str
    bytes: Annotated[int, Field(ge=0, le=LARGEST_SIZE)]


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


def _named(description: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if not isinstance(description.get("kind"), str):
        raise ValueError(  # noqa: TRY004 # pydantic takes no TypeError
            "a representation has a `kind`"
        )
    return description


# The `kind` of a representation, and what its own decoder needs to know.
RepresentationDescription = Annotated[dict[str, JsonValue], AfterValidator(_named)]


class Document(_Part):
    """The description of the encoded checkpoint and of how it was encoded.

    `layers` is the coordinate table: entry l holds the kernels of the coordinates (l, f, c), where f is less than its
    filters and c less than its channels. `tensor_order` lists every tensor of the checkpoint; `tied` maps each tensor
    that repeats another one to the name of that one. `file_names`, `metadata`, `extra_states` and `config` are those of
    the `Checkpoint`; empty ones are left out of the file. `graph` is beside the document in the file,
    because it is no JSON.
    """

    architecture: str | None
    options: EncodeOptions
    representation: RepresentationDescription
    layers: tuple[KernelLayer, ...] = Field(min_length=1)
    tied: dict[str, str]
    tensor_order: tuple[str, ...]
    source: Source
    file_names: FileNames = FileNames()
    metadata: dict[Name, JsonValue] | None = None
    extra_states: dict[Name, JsonValue] = {}
    config: dict[str, JsonValue] | None = None
    graph: Annotated[bytes | None, Field(exclude=True)] = None

    @model_serializer(mode="wrap")
    def _without_empty_parts(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out empty fields, because field names cost bytes, too."""
        written: dict[str, Any] = serialize(self)
        for name in ("file_names", "metadata", "extra_states", "config"):
            if getattr(self, name) == type(self).model_fields[name].default:
                del written[name]
        return written

    @property
    def kind(self) -> str:
        """Return the name of the representation."""
        return str(self.representation["kind"])

    @field_serializer("options", mode="wrap")
    def _about_the_file(self, options: EncodeOptions, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write all options except those that do not change the file."""
        written: dict[str, Any] = serialize(options)
        del written["direct_quantization"], written["fail_over"]
        for name in ("key", "outputs", "tier"):
            if written[name] is None:
                del written[name]
        if options.representation == AUTO:
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
