"""The API's representation of data sets."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from app.datasets.models import Dataset


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
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """Return the view of an uploaded file's split, as its row describes it."""
        height, width = stored.get("height"), stored.get("width")
        shape = None if height is None or width is None else [height, width, 3]
        return cls(bytes=stored.get("bytes", 0), images=stored.get("images"), shape=shape)


class DatasetView(BaseModel):
    """A data set. `name` is the value for the option `dataset`."""

    name: str
    source: Annotated[DatasetSource, Field(description="`operator`: offered to everybody. `upload`: uploaded by you.")]
    train: SplitView
    test: SplitView
    bytes: Annotated[int | None, Field(description="Size of an uploaded file.")] = None
    sha256: Annotated[str | None, Field(description="SHA-256 of an uploaded file.")] = None
    created_at: datetime | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Return the view of a row."""
        train, test = (SplitView.of(dataset.splits.get(split, {})) for split in ("train", "test"))
        return cls(
            name=dataset.name,
            source=DatasetSource.UPLOAD,
            train=train,
            test=test,
            bytes=dataset.bytes,
            sha256=dataset.sha256,
            created_at=dataset.created_at,
        )


class DatasetList(BaseModel):
    """Data sets your jobs can use. With `any_folder`, they can also use any folder of the service's machine."""

    items: list[DatasetView]
    any_folder: bool
