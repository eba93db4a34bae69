"""The architectures by name. `scripts/write_catalogue.py` counts them once, so that nobody needs torch to tell."""

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

_FILE = Path(__file__).with_name("architectures.json")


class Represented(BaseModel):
    """What a value of the option `kernels` represents of a network: the other tensors are kept."""

    model_config = ConfigDict(frozen=True)

    tensors: int
    weights: int
    kernel_shapes: Annotated[
        tuple[tuple[int, ...], ...], Field(description="Each has an output head; `[16]` is a tile of a matrix's row.")
    ]


class ArchitectureEntry(BaseModel):
    """A network that the option `architecture` may name, counted with the classes of its published weights."""

    model_config = ConfigDict(frozen=True)

    name: str
    input_size: Annotated[int, Field(description="Height and width of its images in pixels.")]
    classes: int
    parameters: int
    represented: Annotated[
        dict[str, Represented],
        Field(description="By the words `spatial` and `all`; a word that finds nothing is missing."),
    ]


@cache
def architectures() -> tuple[ArchitectureEntry, ...]:
    """All of them, those of this project first."""
    return TypeAdapter(tuple[ArchitectureEntry, ...]).validate_json(_FILE.read_bytes())
