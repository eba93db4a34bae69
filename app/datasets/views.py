"""What the API says of data sets."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from app.datasets.models import Dataset


class DatasetSource(StrEnum):
    """Where a data set comes from."""

    OPERATOR = "operator"
    UPLOAD = "upload"


class SplitView(BaseModel):
    """One of the two splits of a data set. `images` and `shape` are null if a file of the operator's does not tell."""

    bytes: int
    images: int | None
    shape: Annotated[list[int] | None, Field(description="Height, width and channels of an image.")]

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The view of a split of an uploaded file, as its row describes it."""
        height, width = stored.get("height"), stored.get("width")
        shape = None if height is None or width is None else [height, width, 3]
        return cls(bytes=stored.get("bytes", 0), images=stored.get("images"), shape=shape)


class DatasetView(BaseModel):
    """A data set. `name` is what the option `dataset` takes."""

    name: str
    source: Annotated[DatasetSource, Field(description="`operator`: offered to all. `upload`: sent by you.")]
    train: SplitView
    test: SplitView
    bytes: Annotated[int | None, Field(description="Size of an uploaded file.")] = None
    sha256: Annotated[str | None, Field(description="SHA-256 of an uploaded file.")] = None
    created_at: datetime | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """The view of a row."""
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
    """The data sets that jobs may name. With `any_folder`, they may also name any folder of this machine."""

    items: list[DatasetView]
    any_folder: bool
