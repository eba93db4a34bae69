"""Image data and its preprocessing: a folder with `train.npz` and `test.npz`, one file, or `image_files`.

Each `.npz` file holds `images`, uint8 of shape N x H x W x 3 (RGB), and `labels`, integers of shape N. A `dataset.json`
in a folder overrides the architecture's preprocessing: any of `mean`, `std` (three numbers each), `input_size`,
`crop_padding` and `horizontal_flip`. `dataset_structure` describes the single-file format.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from safetensors import safe_open
from torch import Tensor

from nern_core.contract.errors import NernError, reason_of
from nern_core.formats.dataset_structure import (
    PREPROCESSING,
    SPLITS,
    DatasetStructure,
    PreprocessingOverride,
    explain_override,
    parse_preprocessing,
    read_dataset_structure,
)
from nern_core.formats.npz_claims import check_claim
from nern_core.formats.other_datasets import DATASET_KINDS
from nern_core.formats.text_files import has_text
from nern_core.networks import image_files
from nern_core.networks.architecture import UNCHANGED, Augmentation, Preprocessing
from nern_core.networks.image_files import ImageFiles, Pixels, TargetSize, find_image_files, stored_size
from nern_core.networks.image_files.reading import MOST_BYTES

_NPY_MAGIC = b"\x93NUMPY"
# Labels become int64.
_LARGEST_LABEL = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images uint8 (N, 3, H, W) and labels int64 (N,); `notes` are sentences on how they were read."""

    images: Tensor
    labels: Tensor
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def has_labels(dataset: Path) -> bool:
    """Return True if the images of a data set have labels. Raises `NernError` as `read_pixels` does."""
    files = find_image_files(dataset)
    if files is not None:
        return files.is_labelled
    return not dataset.is_file() or _structure(dataset).is_labelled


def read_image_set(dataset: Path, split: str, preprocessing: Preprocessing | None = None) -> ImageSet:
    """Read the labelled images of `train` or `test`.

    Raises `NernError` as `read_pixels` does, and `bad_data` for images without labels.
    """
    pixels = read_pixels(dataset, split, preprocessing)
    if pixels.labels is None:
        raise NernError("bad_data", f"The images of '{dataset}' have no labels, with which an accuracy is measured.")
    return ImageSet(pixels.images, pixels.labels, pixels.notes)


def read_pixels(
    dataset: Path, split: str, preprocessing: Preprocessing | None = None, most_bytes: int = MOST_BYTES
) -> Pixels:
    """Read the images of `train` or `test`, with labels if there are any.

    Image files are decoded into the size of the preprocessing, or without one into that of `image_files`; an even
    sample of them, if they have more than `most_bytes`. Raises `NernError` with the code `missing_data`, `bad_data`,
    `not_a_dataset` or `missing_extra`.
    """
    files = find_image_files(dataset)
    if files is not None:
        read = image_files.read_pixels(split, files.split(split), _stored_size(files, preprocessing), most_bytes)
        return replace(read, notes=(*files.notes, *read.notes))
    return _read_from_file(dataset, split) if dataset.is_file() else _read_from_folder(dataset, split)


def _stored_size(files: ImageFiles, preprocessing: Preprocessing | None) -> TargetSize:
    known = UNCHANGED if preprocessing is None else preprocessing
    return stored_size(files, known.input_size, known.crop_share)


def _read_from_file(path: Path, split: str) -> Pixels:
    labelled = _structure(path).is_labelled
    with safe_open(path, framework="pt") as file:
        images = file.get_tensor(f"{split}.images")
        labels = file.get_tensor(f"{split}.labels") if labelled else None
    if labels is not None:
        _refuse_impossible_labels(path, int(labels.min()), int(labels.max()))
    return Pixels(images.permute(0, 3, 1, 2), labels)


def _structure(path: Path) -> DatasetStructure:
    """Return the structure of a file with images. Raises `NernError` (`bad_data`, `not_a_dataset`)."""
    if has_text(path):
        raise NernError(
            "bad_data", f"'{path}' has text lines, which only networks of transformers take; give a data set of images."
        )
    structure = read_dataset_structure(path)
    if not structure.splits:
        raise NernError("bad_data", f"'{path}' has arrays, and no images; give a data set of images.")
    return structure


def _read_from_folder(folder: Path, split: str) -> Pixels:
    path = folder / f"{split}.npz"
    if not folder.is_dir():
        raise NernError("missing_data", f"There is no folder or file '{folder}'. A data set is {DATASET_KINDS}.")
    if not any((folder / f"{name}.npz").exists() for name in SPLITS):
        raise NernError("missing_data", f"There is no data set in the folder '{folder}': give {DATASET_KINDS}.")
    if not path.is_file():
        raise NernError("missing_data", f"There is no {split}.npz in the folder '{folder}', beside the other split.")
    images, labels = _read_arrays(path)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not images.size:
        raise NernError(
            "bad_data", f"`images` in '{path}' must be uint8 of shape N x H x W x 3, not {images.dtype} {images.shape}."
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise NernError("bad_data", f"`labels` in '{path}' must be one integer for each of {len(images)} images.")
    _refuse_impossible_labels(path, int(labels.min()), int(labels.max()))
    return Pixels(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels.astype(np.int64)))


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the images and labels of an `.npz` file, unchecked. Raises `NernError` (`bad_data`)."""
    with path.open("rb") as raw:
        head = raw.read(len(_NPY_MAGIC))
    if not head:
        raise NernError("bad_data", f"'{path}' is an empty file; write it again with numpy.savez.")
    if head == _NPY_MAGIC:
        raise NernError("bad_data", f"'{path}' holds one array (.npy); write `images` and `labels` with numpy.savez.")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            for name in ("images", "labels"):
                check_claim(file.zip, name)
            return file["images"], file["labels"]
    except MemoryError:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise many types for damaged files
        reason = reason_of(error)
        raise NernError("bad_data", f"'{path}' is not an .npz file with `images` and `labels`: {reason}.") from error


def _refuse_impossible_labels(path: Path, smallest: int, largest: int) -> None:
    if smallest < 0 or largest > _LARGEST_LABEL:
        found = smallest if smallest < 0 else largest
        raise NernError("bad_data", f"'{path}' has the label {found}; labels are class indices, from 0.")


def dataset_preprocessing(dataset: Path, default: Preprocessing) -> Preprocessing:
    """Return the architecture's preprocessing with the data set's overrides.

    Images that are not resized have their stored size. Raises `NernError` (`bad_data`, `not_a_dataset`).
    """
    override = read_override(dataset)
    if not default.input_size and (override is None or override.input_size is None):
        default = replace(default, input_size=_size_of_images(dataset))
    if override is None:
        return default
    given = override.model_dump(exclude_none=True)
    augmentation = {key: given.pop(key) for key in ("crop_padding", "horizontal_flip") if key in given}
    found = replace(default, **given, augmentation=replace(default.augmentation, **augmentation))
    if found.augmentation.crop_padding > found.input_size:
        raise NernError(
            "bad_data",
            f"'{dataset}' sets a `crop_padding` of {found.augmentation.crop_padding}; use at most the "
            f"{found.input_size} pixels of `input_size`.",
        )
    return found


def preprocessing_notes(own: Preprocessing, used: Preprocessing) -> tuple[str, ...]:
    """Say how images become inputs of a network about whose images nothing is known, unless the data set says it."""
    if own.input_size or used.mean != own.mean or used.std != own.std:
        return ()
    return (
        (
            f"The images become inputs of {used.input_size} x {used.input_size} pixels from 0 to 1, without "
            "normalization; a dataset.json in the folder sets `mean`, `std` and `input_size`."
        ),
    )


def read_override(dataset: Path) -> PreprocessingOverride | None:
    """Return the settings of a data set that override the preprocessing. Raises `NernError`."""
    if not dataset.is_file():
        return _override_of_folder(dataset)
    return None if find_image_files(dataset) is not None else _override_of_file(dataset)


def _size_of_images(dataset: Path) -> int:
    files = find_image_files(dataset)
    if files is not None:
        return _stored_size(files, None).height
    return max(read_pixels(dataset, "test").images.shape[-2:])


def _override_of_file(path: Path) -> PreprocessingOverride | None:
    _structure(path)
    with safe_open(path, framework="pt") as file:
        return parse_preprocessing((file.metadata() or {}).get(PREPROCESSING))


def _override_of_folder(folder: Path) -> PreprocessingOverride | None:
    path = folder / "dataset.json"
    if not path.is_file():
        return None
    try:
        return PreprocessingOverride.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise NernError("bad_data", f"'{path}' is invalid: {explain_override(error)}.") from error


def to_inputs(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Turn uint8 or float images (n, 3, h, w) in 0...255 into normalized float32 inputs, channels last."""
    inputs = images.to(torch.float32) / 255
    size = preprocessing.input_size
    if inputs.shape[-2:] != (size, size):
        inputs = F.interpolate(inputs, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    mean, std = (_of_channels(values, inputs.device) for values in (preprocessing.mean, preprocessing.std))
    return ((inputs - mean) / std).contiguous(memory_format=torch.channels_last)


@cache
def _of_channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Make a tensor of one value per channel, (3, 1, 1); cached, because a GPU would wait for the CPU each time."""
    return torch.tensor(values, device=device)[:, None, None]


def augment(images: Tensor, preprocessing: Preprocessing, generator: torch.Generator) -> Tensor:
    """Randomly crop (after zero padding) and mirror images (n, 3, h, w), each independently."""
    augmentation = preprocessing.augmentation
    return change(images, augmentation, *draw_changes(len(images), augmentation, generator))


def draw_changes(count: int, augmentation: Augmentation, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Draw changes for `count` images: first row and column of a crop, int64 (n,), then which to mirror, bool (n,)."""
    changes = []
    if augmentation.crop_padding:
        changes += [torch.randint(2 * augmentation.crop_padding + 1, (count,), generator=generator) for _ in range(2)]
    if augmentation.horizontal_flip:
        changes.append(torch.rand(count, generator=generator) < 0.5)
    return tuple(changes)


def change(images: Tensor, augmentation: Augmentation, *changes: Tensor) -> Tensor:
    """Apply the drawn changes to images (n, 3, h, w), all on one device."""
    if augmentation.crop_padding:
        first_row, first_column, changes = changes[0], changes[1], changes[2:]
        _, _, height, width = images.shape
        number, row, column = (torch.arange(size, device=images.device) for size in (len(images), height, width))
        rows, columns = first_row[:, None] + row, first_column[:, None] + column
        padded = F.pad(images, (augmentation.crop_padding,) * 4).permute(0, 2, 3, 1)
        images = padded[number[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if augmentation.horizontal_flip:
        (mirrored,) = changes
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images
