"""Architectures by name. `scripts/write_catalogue.py` counts their tensors once, so that readers do not need torch.

Installed packages add names with entry points of the group `nern.architectures`: each name, such as `acme:detector`,
refers to a function without arguments that builds the network. Only `nern_core.networks` loads it.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

ARCHITECTURE_NAMES: Final = (
    "cifar-resnet20, -32, -44, -56, -110, digits-cnn, torchvision:NAME, timm:NAME or transformers:auto"
)
ENTRY_POINTS: Final = "nern.architectures"
# Libraries that know more names than the catalogue lists, with the form of these names.
LIBRARIES: Final = ("torchvision", "timm", "transformers")
_OF_LIBRARIES: Final = re.compile(rf"({'|'.join(LIBRARIES)}):[A-Za-z0-9_.-]{{1,100}}")
# The catalogue lists all networks of this library.
_CATALOGUED_LIBRARY: Final = "torchvision:"
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
    """A value of the option `architecture`; parameters are counted with the published number of classes.

    Only the name is known of a network of an installed package.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    input_size: Annotated[int | None, Field(description="Height and width of the input images in pixels.")] = None
    classes: int | None = None
    parameters: int | None = None
    represented: Annotated[
        dict[str, Represented],
        Field(description="Keyed by `spatial` and `all`; a key that matches no tensor is left out."),
    ] = {}


@cache
def architectures() -> tuple[ArchitectureEntry, ...]:
    """Return all architectures: this project's own, those of libraries, and those of installed packages."""
    return (*_catalogued(), *(ArchitectureEntry(name=name) for name in installed_architectures()))


@cache
def installed_architectures() -> Mapping[str, EntryPoint]:
    """Return the entry points of installed packages by name, without those whose name is taken."""
    taken = {entry.name for entry in _catalogued()}
    return {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in taken}


@cache
def is_catalogued(name: str) -> bool:
    """Return True if the tensors of this architecture are known without torch."""
    return any(entry.name == name for entry in _catalogued())


def must_be_catalogued(name: str) -> bool:
    """Return True if the tensors of an architecture of this name are known without torch, or there is none."""
    return is_catalogued(name) or name.startswith(_CATALOGUED_LIBRARY)


@cache
def _catalogued() -> tuple[ArchitectureEntry, ...]:
    return TypeAdapter(tuple[ArchitectureEntry, ...]).validate_json(_FILE.read_bytes())


def has_provider(name: str) -> bool:
    """Return True if an architecture has this name, or if it has the form of a library's names.

    Libraries know more names than the catalogue lists, and refuse unknown ones themselves.
    """
    return name in _names() or _OF_LIBRARIES.fullmatch(name) is not None


@cache
def _names() -> frozenset[str]:
    return frozenset(entry.name for entry in architectures())
