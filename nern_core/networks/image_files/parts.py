"""The protocol of all formats: parts of a data set, and the choice of the images to train on and to measure on."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final, Protocol

import numpy as np

from nern_core.contract.errors import NernError, quoted
from nern_core.contract.plural import plural

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
# Words for the parts, in names of folders and files.
_WORDS: Final = {
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation"),
    "validation": ("validation", "val", "valid", "dev"),
}
_SPLIT_OF_WORD: Final = {word: split for split, words in _WORDS.items() for word in words}
_SHARE_HELD_OUT: Final = 0.2
_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image of a data set: its name for messages, and `read`, which returns the bytes of its file.

    `read` raises `OSError` or `ValueError`.
    """

    name: str
    read: Callable[[], bytes]


class Part(Protocol):
    """A part of a data set, such as its training images, in a fixed order."""

    @property
    def labels(self) -> np.ndarray | None:
        """Return the class of each image, int64 (N,); None without labels."""

    def __len__(self) -> int:
        """Return the number of images."""

    def images(self, rows: Sequence[int]) -> Iterator[EncodedImage]:
        """Yield the images of these rows, which ascend. Raises `NernError` (`bad_data`)."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a part, in ascending order."""

    part: Part
    rows: np.ndarray

    @property
    def labels(self) -> np.ndarray | None:
        """Return the labels of the rows."""
        return None if self.part.labels is None else self.part.labels[self.rows]

    def evenly(self, most: int) -> "Rows":
        """Return `most` evenly spaced rows, or all if there are no more."""
        count = len(self.rows)
        return self if count <= most else Rows(self.part, self.rows[np.arange(most) * count // most])

    def images(self) -> Iterator[EncodedImage]:
        """Yield the images of the rows."""
        return self.part.images(self.rows.tolist())


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFiles:
    """A data set of encoded images; `notes` are sentences on how it was read."""

    train: Rows
    test: Rows
    notes: tuple[str, ...] = ()

    @property
    def is_labelled(self) -> bool:
        """Return True if all images have labels."""
        return self.train.labels is not None and self.test.labels is not None

    def split(self, name: str) -> Rows:
        """Return the images of `train` or `test`."""
        return self.train if name == "train" else self.test


def split_of(name: str) -> str | None:
    """Return the split that the name of a file or folder contains: `train`, `test` or `validation`; None without."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((_SPLIT_OF_WORD[word] for word in words if word in _SPLIT_OF_WORD), None)


def split_of_path(path: PurePath) -> str:
    """Return the split that the name of a file contains, or else that of its nearest folder; empty without."""
    return next((split for part in reversed(path.parts) if (split := split_of(part)) is not None), "")


def choose_splits(path: Path, parts: Mapping[str, Part], notes: Sequence[str] = ()) -> ImageFiles:
    """Choose the images to train on and to measure on from the parts, by the names that `split_of` returns.

    Other names count as training images. Measured are the images of `test`, or of `validation` if only those have
    labels, or a fifth of the images if there is one part. Raises `NernError` (`bad_data`).
    """
    found = {name: part for name, part in parts.items() if len(part)}
    if not found:
        raise NernError("bad_data", f"There are no images in '{path}'.")
    for name, part in found.items():
        _refuse_negative_labels(path, name, part)
    measured = [name for name in ("test", "validation") if name in found]
    training = [name for name in found if name not in measured]
    if training and measured:
        best = next((name for name in measured if found[name].labels is not None), measured[0])
        return ImageFiles(train=_all(found[training[0]]), test=_all(found[best]), notes=tuple(notes))
    (only, *_) = training or measured
    part = found[only]
    if len(part) < 2:
        raise NernError("bad_data", f"There is only one image in '{path}'; give at least two.")
    held_out = np.sort(
        np.random.default_rng(_SEED).permutation(len(part))[: max(1, round(_SHARE_HELD_OUT * len(part)))]
    )
    rest = np.setdiff1d(np.arange(len(part)), held_out)
    note = (
        f"'{path}' has no separate test images: of {len(part):,} images, {len(held_out):,} "
        f"{plural(len(held_out), 'was', 'were')} held out for measuring, chosen by a fixed seed."
    )
    return ImageFiles(train=Rows(part, rest), test=Rows(part, held_out), notes=(*notes, note))


def numbered(classes: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return the indices of names among sorted classes, int64."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[name] for name in names], dtype=np.int64)


def _all(part: Part) -> Rows:
    return Rows(part, np.arange(len(part)))


def _refuse_negative_labels(path: Path, name: str, part: Part) -> None:
    if part.labels is not None and part.labels.min() < 0:
        where = f" in {quoted(name)}" if name else ""
        raise NernError(
            "bad_data",
            f"'{path}' has the label {part.labels.min()}{where}; labels are class indices, from 0.",
        )
