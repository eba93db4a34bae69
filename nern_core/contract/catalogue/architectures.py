"""Architectures by name. `scripts/write_catalogue.py` counts their tensors once, so that readers do not need torch."""

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

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
