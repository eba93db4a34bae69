"""Tables of images in the layout of the Hugging Face Hub: Parquet files, and Arrow files of `datasets`.

The column `image` (or `img`) holds the bytes of image files, directly or as `{bytes, path}`, and the column `label`
their classes, as numbers or names.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

import numpy as np

from nern_core.contract.errors import NernError, quoted, reason_of
from nern_core.contract.extras import extra_error
from nern_core.networks.image_files.parts import EncodedImage, ImageFiles, choose_splits, numbered

_IMAGE_COLUMNS: Final = ("image", "img", "images", "jpg", "png")
_LABEL_COLUMNS: Final = ("label", "labels", "fine_label", "class", "cls", "target")


class TableFile(Protocol):
    """A file with rows. Its methods raise exceptions of pyarrow for a damaged file."""

    @property
    def name(self) -> str:
        """Return the name for messages."""

    def schema(self) -> Any:  # noqa: ANN401 # pyarrow has no type information
        """Return the schema of pyarrow."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def column(self, name: str) -> list[Any]:
        """Return all values of a column."""

    def values(self, name: str, rows: Sequence[int]) -> Iterator[Any]:
        """Yield the values of a column in these rows, which ascend."""


@dataclass(frozen=True, slots=True)
class _TablePart:
    """The rows of several files, one after another."""

    files: tuple[TableFile, ...]
    image_column: str
    labels: np.ndarray | None
    count: int

    def __len__(self) -> int:
        return self.count

    def images(self, rows: Sequence[int]) -> Iterator[EncodedImage]:
        """Yield the images of these rows."""
        wanted = np.asarray(rows)
        start = 0
        for file in self.files:
            end = start + len(file)
            inside = (wanted[(wanted >= start) & (wanted < end)] - start).tolist()
            start = end
            with reading(file.name):
                for row, value in zip(inside, file.values(self.image_column, inside), strict=True):
                    yield EncodedImage(_name_of(value, file.name, row), partial(_bytes_of, value))


def read_tables(path: Path, splits: Mapping[str, Sequence[TableFile]]) -> ImageFiles:
    """Read the splits of a data set. Raises `NernError` (`bad_data`) for tables without images and damaged ones."""
    notes: list[str] = []
    columns = {split: _columns(path, files[0]) for split, files in splits.items()}
    values: dict[str, list[Any] | None] = {}
    for split, files in splits.items():
        label = columns[split][1]
        values[split] = None if label is None else _labels(path, label, files, notes)
    classes = sorted({value for found in values.values() for value in found or () if isinstance(value, str)})
    if classes:
        notes.append("The labels are names: they were numbered in the order of the alphabet.")
    parts: dict[str, _TablePart] = {}
    for split, files in splits.items():
        found = values[split]
        labels = None if not found else numbered(classes, found) if classes else np.array(found, dtype=np.int64)
        # The hub marks images whose class is not published.
        if labels is not None and (labels == -1).all():
            labels = None
        parts[split] = _TablePart(tuple(files), columns[split][0], labels, sum(len(file) for file in files))
    return choose_splits(path, parts, tuple(dict.fromkeys(notes)))


def pyarrow() -> ModuleType:
    """Import pyarrow. Raises `NernError` (`missing_extra`)."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise extra_error("Data sets in Parquet and Arrow files need", "data") from error
    return pa  # type: ignore[no-any-return] # pyarrow has no type information


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn the errors of a damaged file into `NernError` (`bad_data`)."""
    try:
        yield
    except (pyarrow().ArrowException, OSError, ValueError) as error:  # a ValueError: names and paths that are not UTF-8
        reason = reason_of(error)
        raise NernError("bad_data", f"'{name}' cannot be read: {reason}.") from error


def _columns(path: Path, file: TableFile) -> tuple[str, str | None]:
    """Return the names of the columns of the images and of the labels, which may be missing."""
    with reading(file.name):
        schema = file.schema()
        names: list[str] = schema.names
    described = _described_types(schema)
    images = [
        name
        for name in (*_IMAGE_COLUMNS, *_of_type(described, "Image"))
        if name in names and _is_image(schema.field(name).type)
    ]
    if not images:
        raise NernError(
            "bad_data",
            f"'{path}' has no column of images; it has {', '.join(map(quoted, names[:10]))}. Name the column `image`, "
            "with the bytes of image files.",
        )
    labels = [name for name in (*_LABEL_COLUMNS, *_of_type(described, "ClassLabel")) if name in names]
    return images[0], next(iter(labels), None)


def _described_types(schema: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the features that `datasets` writes into the metadata of a schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def _of_type(features: Mapping[str, Any], kind: str) -> list[str]:
    return [name for name, feature in features.items() if isinstance(feature, dict) and feature.get("_type") == kind]


def _is_image(kind: Any) -> bool:  # noqa: ANN401
    types = pyarrow().types
    if types.is_struct(kind):
        return any(field.name == "bytes" and _is_image(field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _labels(path: Path, column: str, files: Sequence[TableFile], notes: list[str]) -> list[Any] | None:
    """Return the labels of all rows, numbers or names; None, with a note, for a column of another kind."""
    types = pyarrow().types
    with reading(files[0].name):
        kind = files[0].schema().field(column).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if not (types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)):
        notes.append(f"The column {quoted(column)} of '{path}' is not one class for each image, and was left out.")
        return None
    found: list[Any] = []
    for file in files:
        with reading(file.name):
            found += file.column(column)
    if None in found:
        raise NernError(
            "bad_data",
            f"'{path}' has no value in row {found.index(None):,} of the column {quoted(column)}; fill it in or "
            "rename the column.",
        )
    return found


def _name_of(value: Any, file: str, row: int) -> str:  # noqa: ANN401
    path = value.get("path") if isinstance(value, dict) else None
    return path if isinstance(path, str) and path else f"{Path(file).name}, row {row}"


def _bytes_of(value: Any) -> bytes:  # noqa: ANN401
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise ValueError("it has no bytes, only a path")  # noqa: TRY004 # a damaged row
    return content
