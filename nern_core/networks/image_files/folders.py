"""Folders of images: `train/CLASS/*` and `test/CLASS/*`, one folder `CLASS/*`, or images without classes."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from nern_core.contract.errors import NernError, quoted
from nern_core.networks.image_files.decoding import LARGEST_FILE
from nern_core.networks.image_files.parts import (
    IMAGE_SUFFIXES,
    EncodedImage,
    ImageFiles,
    choose_splits,
    numbered,
    split_of,
)

# macOS puts a folder of this name into zip archives.
_IGNORED: Final = "__MACOSX"
_DESCRIPTION: Final = "dataset.json"
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class _FolderPart:
    """Images at paths below a folder."""

    root: Path
    paths: list[str]
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.paths)

    def images(self, rows: Sequence[int]) -> Iterator[EncodedImage]:
        """Yield the images of these rows."""
        for row in rows:
            path = self.paths[row]
            yield EncodedImage(path, partial(_read, self.root / path))


@dataclass(slots=True)
class _LeftOut:
    """Paths of entries that are not read."""

    links: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def notes(self) -> Iterator[str]:
        """Describe what is not read."""
        if self.links:
            yield f"Links to folders or out of the folder that were not followed: {_counted(self.links)}."
        if self.others:
            yield f"Files left out because they have other names than images: {_counted(self.others)}."
        if self.outside:
            yield f"Images left out because they lie outside of splits or classes: {_counted(self.outside)}."
        if self.empty:
            yield f"Folders without images that count as classes: {_counted(self.empty)}; remove any that is none."


def read_folder(path: Path) -> ImageFiles | None:
    """Find the images of a folder; None if it has none. Raises `NernError` (`bad_data`)."""
    root = _without_wrappers(path.resolve())
    left_out = _LeftOut()
    paths = sorted(_walk(root, "", left_out))
    if not paths:
        return None
    parts = _parts(root, _split_folders(root) or {"": ""}, paths, left_out)
    return choose_splits(path, parts, list(left_out.notes()))


def _without_wrappers(root: Path) -> Path:
    """Return the folder in a folder that has nothing else, as archives make it, unless it has only images itself."""
    while len(below := _subfolders(root)) == 1 and not _has_images(root) and _subfolders(root / below[0]):
        root /= below[0]
    return root


def _split_folders(root: Path) -> dict[str, str]:
    """Return the folders of the splits, if there are at least two; a lone `train` may be a class of vehicles."""
    found: dict[str, str] = {}
    for name in sorted(_subfolders(root)):
        split = split_of(name)
        if split is not None and split in found:
            raise NernError(
                "bad_data",
                f"'{root}' has two folders of the same split, {quoted(found[split])} and {quoted(name)}; keep one.",
            )
        if split is not None:
            found[split] = name
    return found if len(found) > 1 else {}


def _parts(root: Path, folders: dict[str, str], paths: list[str], left_out: _LeftOut) -> dict[str, _FolderPart]:
    """Divide paths by the folders of the splits, and number the classes by their sorted names."""
    classes = {split: sorted(_subfolders(root / folder)) for split, folder in folders.items()}
    known = classes.get("train", next(iter(classes.values())))
    parts: dict[str, _FolderPart] = {}
    used = 0
    for split, folder in folders.items():
        members = [path for path in paths if not folder or path.startswith(f"{folder}{os.sep}")]
        used += len(members)
        names = [_class_of(path, folder) for path in members]
        labels = None
        # The images of a single folder, such as `images`, have no classes.
        if len(known) > 1 and any(names):
            left_out.outside += [path for path, name in zip(members, names, strict=True) if name is None]
            members = [path for path, name in zip(members, names, strict=True) if name is not None]
            named = [name for name in names if name is not None]
            _refuse_other_classes(root, folder, named, known)
            labels = numbered(known, named)
            if classes[split] is known:
                left_out.empty += sorted(set(known).difference(named))
        parts[split] = _FolderPart(root, members, labels)
    if used < len(paths):
        left_out.outside += [path for path in paths if Path(path).parts[0] not in folders.values()]
    return parts


def _class_of(path: str, folder: str) -> str | None:
    """Return the folder of a path below the folder of its split; None for an image that lies in that itself."""
    parts = Path(path).parts[1 if folder else 0 :]
    return parts[0] if len(parts) > 1 else None


def _refuse_other_classes(root: Path, folder: str, names: Sequence[str], known: Sequence[str]) -> None:
    other = next(iter(sorted(set(names).difference(known))), None)
    if other is not None:
        raise NernError(
            "bad_data",
            f"'{root / folder}' has images in the folder {quoted(other)}, but there is no folder of this name with "
            "training images; the classes of both need the same names.",
        )


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and not _is_hidden(entry.name)]


def _has_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(Path(entry.name).suffix.lower() in IMAGE_SUFFIXES for entry in entries)


def _walk(root: Path, below: str, left_out: _LeftOut) -> Iterator[str]:
    """Yield the paths of all images, relative to the root."""
    with os.scandir(root / below) as entries:
        for entry in entries:
            path = os.path.join(below, entry.name)  # noqa: PTH118 # a million paths
            if _is_hidden(entry.name) or path == _DESCRIPTION:
                continue
            if entry.is_symlink() and not _is_file_within(root, Path(entry.path)):
                left_out.links.append(path)
            elif entry.is_dir(follow_symlinks=False):
                yield from _walk(root, path, left_out)
            elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                yield path
            else:
                left_out.others.append(path)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == _IGNORED


def _is_file_within(root: Path, link: Path) -> bool:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # a loop of links
        return False
    return target.is_file() and target.is_relative_to(root)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_FILE + 1)


def _counted(names: list[str]) -> str:
    shown = ", ".join(quoted(name) for name in sorted(names)[:_NAMED])
    return f"{len(names):,} ({shown if len(names) <= _NAMED else f'{shown}, …'})"
