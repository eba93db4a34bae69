"""Architectures by name. `scripts/write_catalogue.py` counts their tensors once, so that readers do not need torch."""

from functools import cache
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

ARCHITECTURE_NAMES: Final = "cifar-resnet20, -32, -44, -56, -110, digits-cnn or torchvision:NAME"
# The type of pydantic's error for a name that no provider knows.
UNKNOWN_ARCHITECTURE: Final = "unknown_architecture"
_FILE = Path(__file__).with_name("architectures.json")


class Represented(BaseModel):
    """The tensors that a value of the option `kernels` represents; the other tensors of the network are kept."""

    model_config = ConfigDict(frozen=True)

    tensors: int
    weights: int
    kernel_shapes: Annotated[
        tuple[tuple[int, ...], ...], Field(description="One output head per shape; `[16]` is a tile of a matrix row.")
    ]


class ArchitectureEntry(BaseModel):
    """A value of the option `architecture`; parameters are counted with the published number of classes."""

    model_config = ConfigDict(frozen=True)

    name: str
    input_size: Annotated[int, Field(description="Height and width of the input images in pixels.")]
    classes: int
    parameters: int
    represented: Annotated[
        dict[str, Represented],
        Field(description="Keyed by `spatial` and `all`; a key that matches no tensor is left out."),
    ]


@cache
def architectures() -> tuple[ArchitectureEntry, ...]:
    """Return all architectures, this project's own first."""
    return TypeAdapter(tuple[ArchitectureEntry, ...]).validate_json(_FILE.read_bytes())


def has_provider(name: str) -> bool:
    """Return True if an architecture has this name, or if a provider has the prefix of `prefix:name`.

    Providers know more names than the catalogue lists, and refuse unknown ones themselves.
    """
    prefix, separator, _ = name.partition(":")
    return prefix in _prefixes() if separator else name in _names()


@cache
def _names() -> frozenset[str]:
    return frozenset(entry.name for entry in architectures())


@cache
def _prefixes() -> frozenset[str]:
    return frozenset(name.partition(":")[0] for name in _names() if ":" in name)
