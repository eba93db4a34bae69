"""Catalogue of the data sets that the operator offers."""

import ast
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.datasets.folders import resolve_folder
from app.datasets.views import DatasetSource, DatasetView, SplitView
from app.kit.problems import Problem
from app.settings import Settings

_SPLITS = ("train", "test")
_DEEPEST = 3
_MOST = 1000
_LONGEST_HEADER = 4096


def offered_datasets(settings: Settings) -> Sequence[DatasetView]:
    """Return the data sets below the roots, up to 1,000."""
    found: dict[str, DatasetView] = {}
    for root in settings.dataset_roots:
        for name in _names(root):
            if name not in found and len(found) < _MOST and (folder := _offered(name, settings)) is not None:
                train, test = (_view_of(folder / f"{split}.npz") for split in _SPLITS)
                found[name] = DatasetView(name=name, source=DatasetSource.OPERATOR, train=train, test=test)
    return list(found.values())


def _view_of(path: Path) -> SplitView:
    shape = _shape_of_images(path)
    return SplitView(bytes=path.stat().st_size, images=shape[0] if shape else None, shape=shape[1:] or None)


def _names(root: Path) -> Iterator[str]:
    """Iterate over the folders with a data set, relative to the root."""
    for folder, below, files in os.walk(root):
        relative = Path(folder).relative_to(root)
        if {f"{split}.npz" for split in _SPLITS} <= set(files):
            yield relative.as_posix()
        if len(relative.parts) >= _DEEPEST:
            below.clear()


def _offered(name: str, settings: Settings) -> Path | None:
    """Return the folder that a job would get by this name, or None: links may lead out of the roots."""
    try:
        return Path(resolve_folder(name, settings))
    except Problem:
        return None


def _shape_of_images(path: Path) -> list[int]:
    """Read the shape of the array `images` from its header; empty for another kind of file."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("images.npy") as array:
            _, major = array.read(6), array.read(2)[0]
            length = int.from_bytes(array.read(2 if major == 1 else 4), "little")
            header = ast.literal_eval(array.read(min(length, _LONGEST_HEADER)).decode("latin-1").strip())
            return [int(axis) for axis in header["shape"]]
    except (OSError, LookupError, RuntimeError, ValueError, TypeError, SyntaxError, zipfile.BadZipFile, zlib.error):
        return []
