"""Folders that `save_to_disk` of `datasets` writes: Arrow files, beside a description of the splits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from nern_core.contract.errors import NernError
from nern_core.networks.image_files.parts import ImageFiles, split_of
from nern_core.networks.image_files.tables import pyarrow, read_tables, reading

_OF_ONE: Final = "state.json"
_OF_SEVERAL: Final = "dataset_dict.json"


@dataclass(frozen=True)
class _ArrowFile:
    """A stream of Arrow batches in a file, mapped into memory and not copied."""

    path: Path

    @property
    def name(self) -> str:
        """Return the path."""
        return str(self.path)

    def _batches(self) -> Any:  # noqa: ANN401 # pyarrow has no type information
        return pyarrow().ipc.open_stream(pyarrow().memory_map(self.name))

    def schema(self) -> Any:  # noqa: ANN401
        """Return the schema of the stream."""
        return self._batches().schema

    @cached_property
    def _rows(self) -> int:
        return sum(batch.num_rows for batch in self._batches())

    def __len__(self) -> int:
        return self._rows

    def column(self, name: str) -> list[Any]:
        """Return all values of a column."""
        return [value for column in self._columns(name) for value in column.to_pylist()]

    def values(self, name: str, rows: Sequence[int]) -> Iterator[Any]:
        """Yield the values of a column in these rows."""
        wanted = np.asarray(rows)
        start = 0
        for column in self._columns(name):
            inside = wanted[(wanted >= start) & (wanted < start + len(column))] - start
            yield from (column[row].as_py() for row in inside.tolist())
            start += len(column)

    def _columns(self, name: str) -> Iterator[Any]:
        """Yield the column of each batch. Arrow itself would follow invalid offsets out of the file."""
        for batch in self._batches():
            column = batch.column(name)
            column.validate(full=True)
            yield column


def is_saved(folder: Path) -> bool:
    """Return True for a folder of `save_to_disk`, with one split or several."""
    return any((folder / name).is_file() for name in (_OF_ONE, _OF_SEVERAL))


def read_saved(folder: Path) -> ImageFiles:
    """Read the splits of a folder. Raises `NernError` (`bad_data`)."""
    if (folder / _OF_ONE).is_file():
        splits = {"": _files(folder)}
    else:
        below = sorted(path for path in folder.iterdir() if (path / _OF_ONE).is_file())
        splits = {split_of(path.name) or path.name: _files(path) for path in below}
    splits = {split: files for split, files in splits.items() if files}
    if not splits:
        raise NernError("bad_data", f"'{folder}' is a data set of `datasets` without Arrow files; save it again.")
    return read_tables(folder, splits)


def _files(folder: Path) -> list[_ArrowFile]:
    files = [_ArrowFile(path) for path in sorted(folder.glob("*.arrow"))]
    for file in files:
        with reading(file.name):
            len(file)
    return files
