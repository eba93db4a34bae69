"""Parquet files as tables: one file, or a folder with a file or several for each split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from nern_core.contract.errors import NernError, quoted
from nern_core.networks.image_files.parts import ImageFiles, split_of, split_of_path
from nern_core.networks.image_files.tables import pyarrow, read_tables, reading

_ROWS_AT_ONCE: Final = 64
_BYTES_AT_ONCE: Final = 2**28


@dataclass(frozen=True)
class _ParquetFile:
    """A Parquet file, of which one group of rows is read at a time."""

    path: Path

    @property
    def name(self) -> str:
        """Return the path."""
        return str(self.path)

    @cached_property
    def _file(self) -> Any:  # noqa: ANN401 # pyarrow has no type information
        pyarrow()
        from pyarrow.parquet import ParquetFile

        return ParquetFile(self.path, memory_map=False)

    def schema(self) -> Any:  # noqa: ANN401
        """Return the schema of the columns."""
        return self._file.schema_arrow

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def column(self, name: str) -> list[Any]:
        """Return all values of a column."""
        values: list[Any] = self._file.read(columns=[name]).column(name).to_pylist()
        return values

    def values(self, name: str, rows: Sequence[int]) -> Iterator[Any]:
        """Yield the values of a column in these rows, from the groups of rows that contain any."""
        wanted = np.asarray(rows)
        start = 0
        for group in range(self._file.num_row_groups):
            end = start + self._file.metadata.row_group(group).num_rows
            if ((wanted >= start) & (wanted < end)).any():
                for batch in self._file.iter_batches(self._rows_at_once(group), row_groups=[group], columns=[name]):
                    inside = wanted[(wanted >= start) & (wanted < start + batch.num_rows)] - start
                    column = batch.column(0)
                    yield from (column[row].as_py() for row in inside.tolist())
                    start += batch.num_rows
            start = end

    def _rows_at_once(self, group: int) -> int:
        """Return the number of rows of a group to read at once, fewer if they are large."""
        claims = self._file.metadata.row_group(group)
        fitting = _BYTES_AT_ONCE * int(claims.num_rows) // max(1, int(claims.total_byte_size))
        return max(1, min(_ROWS_AT_ONCE, fitting))


def read_parquet(path: Path, files: Sequence[Path]) -> ImageFiles:
    """Read Parquet files, whose names or folders may contain their split. Raises `NernError` (`bad_data`)."""
    splits: dict[str, list[_ParquetFile]] = {}
    folders: dict[str, set[Path]] = {}
    for file in files:
        relative = file.relative_to(path) if path.is_dir() else Path(file.name)
        found = split_of_path(relative)
        splits.setdefault(found, []).append(_ParquetFile(file))
        folders.setdefault(found, set()).add(_without_split(relative.parent))
    for several in folders.values():
        if len(several) > 1:
            first, second, *_ = sorted(str(folder) for folder in several)
            raise NernError(
                "bad_data",
                f"'{path}' has several data sets, such as {quoted(first)} and {quoted(second)}; give one of them.",
            )
    if len(splits) > 1:
        splits.pop("", None)
    for table in (table for tables in splits.values() for table in tables):
        with reading(table.name):
            len(table)
    return read_tables(path, splits)


def _without_split(folder: Path) -> Path:
    return Path(*(part for part in folder.parts if split_of(part) is None))
