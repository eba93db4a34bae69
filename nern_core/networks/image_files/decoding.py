"""Decode an image file of any common kind into RGB pixels of the size that a network takes."""

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nern_core.contract.errors import reason_of

# A larger file is not read whole.
LARGEST_FILE: Final = 2**28
_MOST_PIXELS: Final = 10**8
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_LARGEST_16_BIT: Final = 2**16 - 1
_LARGEST_8_BIT: Final = 2**8 - 1


class UndecodableImage(Exception):
    """The reason why an image cannot be used, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class TargetSize:
    """Height and width of the pixels that are stored, and the share of the shorter side that the centre crop keeps."""

    height: int
    width: int
    crop_share: float


def decode_image(content: bytes, target: TargetSize) -> np.ndarray:
    """Decode the first frame of an image into uint8 (height, width, 3).

    An image of the target size is kept. Others are scaled so that the crop share of their shorter side has the target
    size, and the centre is taken, as the presets of torchvision do; square images that are smaller are scaled whole.
    Raises `UndecodableImage`.
    """
    image = _rgb(content)
    if image.size != (target.width, target.height):
        image = _fit(image, target)
    return np.asarray(image)


def size_of_image(content: bytes) -> tuple[int, int]:
    """Return height and width of an image after its rotation. Raises `UndecodableImage`."""
    image = _rgb(content)
    return image.height, image.width


def _rgb(content: bytes) -> Image.Image:
    if not content:
        raise UndecodableImage("it is empty")
    if len(content) > LARGEST_FILE:
        raise UndecodableImage(f"it has more than {LARGEST_FILE:,} bytes")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            _refuse_many_pixels(image)
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except UndecodableImage:
        raise
    except UnidentifiedImageError as error:
        raise UndecodableImage("it is no image of a known format") from error
    except Image.DecompressionBombError as error:
        raise UndecodableImage(f"it has more than {_MOST_PIXELS:,} pixels") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise many types for damaged files
        raise UndecodableImage(reason_of(error)) from error


def _refuse_many_pixels(image: Image.Image) -> None:
    """Raise `UndecodableImage` before memory is allocated."""
    if image.width * image.height > _MOST_PIXELS:
        raise UndecodableImage(f"it has {image.width:,} x {image.height:,} pixels, more than {_MOST_PIXELS:,}")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode; transparent pixels become white."""
    if image.mode == "F":
        raise UndecodableImage("it has floating-point pixels, whose range is unknown")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bits(image).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        whole = image.convert("RGBA")
        paper = Image.new("RGBA", whole.size, "white")
        return Image.alpha_composite(paper, whole).convert("RGB")
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Scale a greyscale image of 16 bits to 8."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _LARGEST_16_BIT:
        raise UndecodableImage("it has more than 16 bits per pixel")
    scaled = (values * _LARGEST_8_BIT + _LARGEST_16_BIT // 2) // _LARGEST_16_BIT
    return Image.fromarray(scaled.astype(np.uint8))


def _fit(image: Image.Image, target: TargetSize) -> Image.Image:
    is_small_square = image.width == image.height <= min(target.height, target.width)
    share = 1.0 if is_small_square else target.crop_share
    # As torchvision's Resize: the shorter side gets the size, the longer one is rounded down.
    scale = max(
        int(target.height / share + 1e-6) / image.height,
        int(target.width / share + 1e-6) / image.width,
    )
    width = max(target.width, int(image.width * scale + 1e-6))
    height = max(target.height, int(image.height * scale + 1e-6))
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - target.width) / 2), round((height - target.height) / 2)
    return resized.crop((left, top, left + target.width, top + target.height))
