"""The API's representation of data sets."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, Field

from app.datasets.models import Dataset
from app.datasets.stored_structure import ArrayView, StoredSplit, StoredStructure
from app.db.stored_documents import read_document


class DatasetSource(StrEnum):
    """Origin of a data set."""

    OPERATOR = "operator"
    UPLOAD = "upload"


class SplitView(BaseModel):
    """One of the two splits of a data set. `images` and `shape` are null if the operator's file does not show them."""

    bytes: int
    images: int | None
    shape: Annotated[list[int] | None, Field(description="Height, width and channels of an image.")]

    @classmethod
    def of(cls, stored: StoredSplit) -> Self:
        """Return the view of an uploaded file's split."""
        shape = None if stored.height is None or stored.width is None else [stored.height, stored.width, 3]
        return cls(bytes=stored.bytes, images=stored.images, shape=shape)


class DatasetView(BaseModel):
    """A data set: images in two splits, arrays or text lines. `name` is the value for the option `dataset`."""

    name: str
    source: Annotated[DatasetSource, Field(description="`operator`: offered to everybody. `upload`: uploaded by you.")]
    train: SplitView
    test: SplitView
    arrays: Annotated[
        list[ArrayView] | None, Field(description="Arrays of a data set for any network; null for others.")
    ] = None
    text_bytes: Annotated[int | None, Field(description="Size of text lines in UTF-8; null for others.")] = None
    bytes: Annotated[int | None, Field(description="Size of an uploaded file.")] = None
    sha256: Annotated[str | None, Field(description="SHA-256 of an uploaded file.")] = None
    created_at: datetime | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Return the view of a row."""
        found = read_document(StoredStructure, dataset.splits) or StoredStructure()
        return cls(
            name=dataset.name,
            source=DatasetSource.UPLOAD,
            train=SplitView.of(found.train),
            test=SplitView.of(found.test),
            arrays=found.arrays or None,
            text_bytes=found.text_bytes,
            bytes=dataset.bytes,
            sha256=dataset.sha256,
            created_at=dataset.created_at,
        )


class DatasetList(BaseModel):
    """Data sets your jobs can use. With `any_folder`, they can also use any folder of the service's machine."""

    items: list[DatasetView]
    any_folder: bool
