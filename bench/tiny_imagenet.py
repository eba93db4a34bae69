"""Tiny ImageNet at 32x32 pixels, from the Parquet files in `NERN_TEST_ASSETS`, and two networks of torchvision."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn

from bench.assets import ASSETS
from nern_core.networks import find_architecture

CLASSES = 200
SIDE = 32
_FOLDER = ASSETS / "data" / "tiny-imagenet-32"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class TinyImages:
    """The images of a split, uint8 (n, 3, 32, 32), and their classes, int64 (n,)."""

    pixels: Tensor
    labels: Tensor


def tiny_images(split: str) -> TinyImages:
    """Read a split: `train` (100,000 images) or `validation` (10,000)."""
    table = pq.read_table(next(_FOLDER.glob(f"{split}-*.parquet")), columns=["image", "label"])
    decoded = [_pixels(row["bytes"]) for row in table.column("image").to_pylist()]
    pixels = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous()
    return TinyImages(pixels, torch.tensor(table.column("label").to_pylist()))


def normalized(pixels: Tensor) -> Tensor:
    """Return images as the networks take them, float32 (n, 3, 32, 32)."""
    return (pixels.float() / 255 - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]


def resnet18() -> nn.Module:
    """Build torchvision's ResNet18, unchanged: its last blocks see one pixel of images so small."""
    return find_architecture("torchvision:resnet18").build(CLASSES)


def mobilenet() -> nn.Module:
    """Build torchvision's MobileNetV3-small."""
    return find_architecture("torchvision:mobilenet_v3_small").build(CLASSES)


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {"resnet18": resnet18, "mobilenet": mobilenet}


def _pixels(encoded: bytes) -> np.ndarray:
    """Return an image, uint8 (32, 32, 3)."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
