"""Image data: a folder with `train.npz` and `test.npz`, and how images become inputs.

Each file holds `images`, uint8 of shape N x H x W x 3 (RGB), and `labels`, integers of shape N. A
`dataset.json` beside them overrides the architecture's preprocessing: any of `mean`, `std` (three
numbers each), `input_size`, `crop_padding` and `horizontal_flip`.
"""

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError
from torch import Tensor

from nern_core.errors import NernError
from nern_core.zoo.architecture import Preprocessing


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images uint8 (N, 3, H, W) and labels int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def read_image_set(folder: Path, split: str) -> ImageSet:
    """Read `train` or `test`. Raises `NernError` with the code `missing_data` or `bad_data`."""
    path = folder / f"{split}.npz"
    if not path.is_file():
        raise NernError("missing_data", f"There is no {split}.npz in the dataset folder '{folder}'.")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise NernError("bad_data", f"'{path}' is not an .npz file with `images` and `labels`: {error}.") from error
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not len(images):
        raise NernError(
            "bad_data", f"`images` in '{path}' must be uint8 of shape N x H x W x 3, not {images.dtype} {images.shape}."
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise NernError("bad_data", f"`labels` in '{path}' must be one integer for each of {len(images)} images.")
    return ImageSet(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels.astype(np.int64)))


class _Override(BaseModel):
    """The contents of `dataset.json`."""

    model_config = ConfigDict(extra="forbid")

    mean: tuple[float, float, float] | None = None
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    input_size: PositiveInt | None = None
    crop_padding: NonNegativeInt | None = None
    horizontal_flip: bool | None = None


def dataset_preprocessing(folder: Path, default: Preprocessing) -> Preprocessing:
    """The architecture's preprocessing with what `dataset.json` overrides. Raises `NernError` (`bad_data`)."""
    path = folder / "dataset.json"
    if not path.is_file():
        return default
    try:
        given = _Override.model_validate(json.loads(path.read_text())).model_dump(exclude_none=True)
    except (ValueError, ValidationError) as error:
        raise NernError("bad_data", f"'{path}' cannot be used: {error}.") from error
    augmentation = {key: given.pop(key) for key in ("crop_padding", "horizontal_flip") if key in given}
    return replace(default, **given, augmentation=replace(default.augmentation, **augmentation))


def to_inputs(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Turn uint8 or float images (n, 3, h, w) in 0...255 into normalized float32 inputs, channels last."""
    inputs = images.to(torch.float32) / 255
    size = preprocessing.input_size
    if inputs.shape[-2:] != (size, size):
        inputs = F.interpolate(inputs, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    mean = torch.tensor(preprocessing.mean, device=inputs.device)[:, None, None]
    std = torch.tensor(preprocessing.std, device=inputs.device)[:, None, None]
    return ((inputs - mean) / std).contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, preprocessing: Preprocessing, generator: torch.Generator) -> Tensor:
    """Randomly crop (after zero padding) and mirror uint8 images (n, 3, h, w), each on its own."""
    padding = preprocessing.augmentation.crop_padding
    count, _, height, width = images.shape
    if padding:
        rows = torch.randint(2 * padding + 1, (count, 1), generator=generator) + torch.arange(height)
        columns = torch.randint(2 * padding + 1, (count, 1), generator=generator) + torch.arange(width)
        padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
        chosen = padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
        images = chosen.permute(0, 3, 1, 2)
    if preprocessing.augmentation.horizontal_flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images
