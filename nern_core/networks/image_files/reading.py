"""Read images into memory: decoded as they come, up to a number of bytes, without those that cannot be decoded."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
import torch
from torch import Tensor

from nern_core.contract.errors import NernError, quoted
from nern_core.contract.plural import plural
from nern_core.networks.image_files.decoding import TargetSize, UndecodableImage, decode_image, size_of_image
from nern_core.networks.image_files.parts import EncodedImage, ImageFiles, Rows

# Of the pixels of one split.
MOST_BYTES: Final = 2**30
# For images of different sizes, if nothing says which size the network takes.
USUAL_SIZE: Final = 224
_LARGEST_STORED: Final = 512
_IMAGES_AT_ONCE: Final = 64
_IMAGES_FOR_SIZE: Final = 64
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Pixels:
    """Images uint8 (N, 3, H, W), labels int64 (N,) if there are any, and sentences on how they were read."""

    images: Tensor
    labels: Tensor | None
    notes: tuple[str, ...] = ()


def stored_size(files: ImageFiles, input_size: int, crop_share: float) -> TargetSize:
    """Return the size in which images are stored: the input size, or, if that is 0, the size that all images have.

    Images of different sizes, and large ones, get 224 pixels then.
    """
    if input_size:
        return TargetSize(input_size, input_size, crop_share)
    sizes = set()
    with _without_warnings():
        for split in (files.train, files.test):
            for image in split.evenly(_IMAGES_FOR_SIZE).images():
                with suppress(OSError, ValueError, UndecodableImage):
                    sizes.add(size_of_image(image.read()))
    if len(sizes) == 1:
        ((height, width),) = sizes
        if height == width <= _LARGEST_STORED:
            return TargetSize(height, width, crop_share)
    return TargetSize(USUAL_SIZE, USUAL_SIZE, crop_share)


def read_pixels(split: str, rows: Rows, target: TargetSize, most_bytes: int = MOST_BYTES) -> Pixels:
    """Read the images of a split, or an even sample of them that fits into `most_bytes`.

    Raises `NernError` (`bad_data`) if there is no image that can be decoded.
    """
    notes = []
    chosen = rows.evenly(max(1, most_bytes // (3 * target.height * target.width)))
    if len(chosen.rows) < len(rows.rows):
        notes.append(
            f"Of {len(rows.rows):,} images of the {split} split, {len(chosen.rows):,} "
            f"{plural(len(chosen.rows), 'was', 'were')} used, evenly spaced: more do not fit into memory."
        )
    pixels = np.empty((len(chosen.rows), target.height, target.width, 3), dtype=np.uint8)
    kept: list[int] = []
    broken: list[str] = []
    with _without_warnings():
        for number, (name, decoded) in enumerate(_decoded(chosen.images(), target)):
            if isinstance(decoded, str):
                broken.append(f"{quoted(name)} ({decoded})")
            else:
                pixels[len(kept)] = decoded
                kept.append(number)
    if not kept:
        raise NernError("bad_data", f"No image of the {split} split can be read: {broken[0]}.")
    if broken:
        named = ", ".join(broken[:_NAMED]) + (", …" if len(broken) > _NAMED else "")
        notes.append(
            f"{len(broken):,} of {len(chosen.rows):,} images of the {split} split cannot be read and "
            f"{plural(len(broken), 'was', 'were')} left out: {named}."
        )
    labels = chosen.labels
    return Pixels(
        torch.from_numpy(pixels[: len(kept)]).permute(0, 3, 1, 2),
        None if labels is None else torch.from_numpy(labels[kept]),
        tuple(notes),
    )


def _decoded(images: Iterator[EncodedImage], target: TargetSize) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield the name of each image with its pixels, or with the reason why it has none."""

    def decode(image: EncodedImage) -> tuple[str, np.ndarray | str]:
        try:
            return image.name, decode_image(image.read(), target)
        except (OSError, ValueError, UndecodableImage) as error:
            return image.name, str(error)

    # Pillow decodes without the lock of the interpreter.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        while some := list(islice(images, _IMAGES_AT_ONCE)):
            yield from pool.map(decode, some)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence Pillow's warnings on metadata and sizes, in all threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
