"""WebDataset archives: tar files with `KEY.jpg` and `KEY.cls` for each example."""

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from nern_core.contract.errors import NernError, quoted, reason_of
from nern_core.contract.plural import plural
from nern_core.networks.image_files.decoding import LARGEST_FILE
from nern_core.networks.image_files.parts import IMAGE_SUFFIXES, EncodedImage, ImageFiles, choose_splits, split_of_path

_NUMBER: Final = frozenset({"cls", "cls.txt"})
_DESCRIPTION: Final = "json"
_DESCRIBED: Final = ("label", "cls")
_LONGEST_LABEL: Final = 2**20


@dataclass(frozen=True, slots=True)
class _Member:
    """The place of an image in an archive, and its label."""

    archive: Path
    name: str
    start: int
    bytes: int
    label: int | None


@dataclass(frozen=True, slots=True)
class _ArchivePart:
    """The images of several archives."""

    members: tuple[_Member, ...]
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.members)

    def images(self, rows: Sequence[int]) -> Iterator[EncodedImage]:
        """Yield the images of these rows."""
        for row in rows:
            member = self.members[row]
            yield EncodedImage(member.name, partial(_read, member))


def read_webdataset(path: Path, archives: Sequence[Path]) -> ImageFiles:
    """Read archives, whose names may contain their split. Raises `NernError` (`bad_data`)."""
    splits: dict[str, list[_Member]] = {}
    for archive in archives:
        relative = archive.relative_to(path) if path.is_dir() else Path(archive.name)
        splits.setdefault(split_of_path(relative), []).extend(_members(archive))
    notes: list[str] = []
    parts: dict[str, _ArchivePart] = {}
    for split, members in splits.items():
        labels = [member.label for member in members if member.label is not None]
        is_labelled = len(labels) == len(members) > 0
        missing = len(members) - len(labels)
        if labels and not is_labelled:
            notes.append(
                f"{missing:,} of {len(members):,} images {plural(missing, 'has', 'have')} no label (`KEY.cls`), so all "
                "count as unlabelled."
            )
        folders = {str(PurePosixPath(member.name).parent) for member in members}
        if not labels and len(folders) > 1:
            notes.append(
                f"The images in the archive have no labels (`KEY.cls`), but lie in {len(folders):,} folders: unpack "
                "it to use these as classes."
            )
        parts[split] = _ArchivePart(tuple(members), np.array(labels, dtype=np.int64) if is_labelled else None)
    return choose_splits(path, parts, notes)


def _members(path: Path) -> Iterator[_Member]:
    """Yield the images of an archive: the members of one example follow each other and have the same key."""
    key, image, label = None, None, None
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                # tarfile would keep the description of every member.
                archive.members = []  # type: ignore[attr-defined]
                if not member.isreg() or member.sparse is not None:
                    continue
                found, ending = _parts_of(member.name)
                if found != key:
                    if image is not None:
                        yield _Member(path, *image, label)
                    key, image, label = found, None, None
                if ending in _NUMBER or (ending == _DESCRIPTION and label is None):
                    content = archive.extractfile(member)
                    text = b"" if content is None else content.read(_LONGEST_LABEL)
                    label = _label(path, member.name, text) if ending in _NUMBER else _described_label(text)
                elif image is None and f".{ending.rpartition('.')[2]}" in IMAGE_SUFFIXES:
                    image = (member.name, member.offset_data, member.size)
            if image is not None:
                yield _Member(path, *image, label)
    except (tarfile.TarError, OSError, OverflowError) as error:
        reason = reason_of(error)
        raise NernError(
            "bad_data", f"'{path}' is not a readable tar archive: {reason}; decompress it if it is compressed."
        ) from error


def _parts_of(name: str) -> tuple[str, str]:
    """Return the key and the ending of a member: the name up to the first dot after its folders, and the rest."""
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition(".")
    return str(path.parent / stem), ending.lower()


def _label(path: Path, name: str, text: bytes) -> int:
    try:
        label = int(text.strip().decode("ascii"))
        if abs(label) < 2**63:
            return label
    except ValueError:
        pass
    raise NernError("bad_data", f"The label {quoted(name)} in '{path}' is not a class index.")


def _described_label(text: bytes) -> int | None:
    """Return the label in the description of an example; None if it has none."""
    try:
        description = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(description, dict):
        return None
    found = next((description[name] for name in _DESCRIBED if name in description), None)
    return found if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**63 else None


def _read(member: _Member) -> bytes:
    with member.archive.open("rb") as file:
        file.seek(member.start)
        return file.read(min(member.bytes, LARGEST_FILE + 1))
