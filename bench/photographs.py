"""Photographs of ImageNet as normalized inputs, from the Parquet files in `NERN_TEST_ASSETS`."""

import io
from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from bench.assets import ASSETS

_FOLDER = ASSETS / "data" / "imagenet-samples"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The part of the shorter side that is kept, as usual for classifiers.
_KEPT = 224 / 256


def photographs(split: str, *, side: int, count: int) -> Tensor:
    """Return the first photographs of a split, centre-cropped and normalized: float32 (n, 3, side, side)."""
    pixels = np.stack([_cropped(image, side) for _, image in zip(range(count), _images(split), strict=False)])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]


def _images(split: str) -> Iterator[Image.Image]:
    for batch in pq.ParquetFile(next(_FOLDER.glob(f"{split}-*.parquet"))).iter_batches(64, columns=["image"]):
        for row in batch.column("image").to_pylist():
            yield Image.open(io.BytesIO(row["bytes"])).convert("RGB")


def _cropped(image: Image.Image, side: int) -> np.ndarray:
    """Resize the shorter side and cut out the centre: uint8 (side, side, 3)."""
    factor = side / _KEPT / min(image.size)
    resized = image.resize([max(side, round(size * factor)) for size in image.size], Image.Resampling.BILINEAR)
    left, top = ((size - side) // 2 for size in resized.size)
    return np.asarray(resized.crop((left, top, left + side, top + side)))
