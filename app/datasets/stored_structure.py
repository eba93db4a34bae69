"""The structure of a data set as a row describes it; that of another release may be different."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, Field

from nern_core.formats.dataset_structure import DatasetStructure


class StoredSplit(BaseModel):
    """A split as a row describes it."""

    bytes: int = 0
    images: int | None = None
    height: int | None = None
    width: int | None = None


class ArrayView(BaseModel):
    """An array of a data set: `labels`, or an argument of the network."""

    name: str
    dtype: Annotated[str, Field(description="As safetensors names it, such as `I64`.")]
    shape: Annotated[list[int], Field(description="The first size is the number of examples.")]


class StoredStructure(BaseModel):
    """The splits of images, the arrays of another data set, or the bytes of text lines."""

    train: StoredSplit = StoredSplit()
    test: StoredSplit = StoredSplit()
    arrays: list[ArrayView] = []
    text_bytes: int | None = None


def stored_structure(structure: DatasetStructure) -> dict[str, Any]:
    """Return the structure as a row describes it."""
    if structure.splits:
        return {split: asdict(found) for split, found in structure.splits.items()}
    if structure.text_bytes is not None:
        return {"text_bytes": structure.text_bytes}
    arrays = [
        ArrayView(name=name, dtype=claim.dtype, shape=list(claim.shape)) for name, claim in structure.arrays.items()
    ]
    return {"arrays": [view.model_dump() for view in arrays]}
