import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from nern_core.networks.image_files.decoding import TargetSize, UndecodableImage, decode_image
from nern_core.networks.torchvision_models import import_models
from tests.image_data import encoded, image

SMALL = TargetSize(8, 8, 0.875)


def first_pixel(content: bytes) -> list[int]:
    pixels: list[int] = decode_image(content, SMALL)[0, 0].tolist()
    return pixels


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {"quality": 100}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("GIF", {})],
)
def test_reads_the_usual_formats(kind: str, options: dict[str, object]) -> None:
    assert first_pixel(encoded(image(200), kind, **options)) == [200, 200, 200]


def test_reads_greyscale_and_palettes() -> None:
    assert first_pixel(encoded(Image.new("L", (8, 8), 9))) == [9, 9, 9]
    assert first_pixel(encoded(Image.new("RGB", (8, 8), (1, 2, 3)).quantize(4))) == [1, 2, 3]
    assert first_pixel(encoded(Image.new("1", (8, 8), 1))) == [255, 255, 255]


def test_transparent_pixels_become_white() -> None:
    assert first_pixel(encoded(Image.new("RGBA", (8, 8), (10, 20, 30, 0)))) == [255, 255, 255]
    assert first_pixel(encoded(Image.new("RGBA", (8, 8), (10, 20, 30, 255)))) == [10, 20, 30]
    assert first_pixel(encoded(Image.new("LA", (8, 8), (0, 0)))) == [255, 255, 255]
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert first_pixel(encoded(palette, transparency=0)) == [255, 255, 255]


@pytest.mark.parametrize(("value", "shade"), [(0, 0), (128, 0), (129, 1), (257, 1), (32768, 128), (65535, 255)])
def test_16_bits_are_scaled_to_8(value: int, shade: int) -> None:
    pixels = np.full((8, 8), value, dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        assert first_pixel(encoded(Image.fromarray(pixels), kind)) == [shade] * 3


def test_cmyk_is_converted() -> None:
    assert first_pixel(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "TIFF")) == [255, 255, 255]
    assert max(first_pixel(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG"))) < 3


def test_images_are_turned_as_their_camera_says() -> None:
    picture = Image.new("RGB", (8, 8))
    picture.paste((255, 255, 255), (0, 0, 8, 4))  # the upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    turned = decode_image(encoded(picture, exif=exif), SMALL)
    assert turned[:, 4:].min() == 255
    assert turned[:, :4].max() == 0


def test_the_first_frame_counts() -> None:
    content = encoded(image(10), "GIF", save_all=True, append_images=[image(20)])
    assert first_pixel(content) == [10, 10, 10]


def test_large_images_are_scaled_and_their_centre_is_taken_as_by_torchvision() -> None:
    import_models()
    from torchvision import transforms

    rng = np.random.default_rng(0)
    preset = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    for size in ((500, 375), (300, 401), (256, 256), (225, 999)):
        picture = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
        found = decode_image(encoded(picture), TargetSize(224, 224, 224 / 256))
        assert np.array_equal(found, np.asarray(preset(picture)))


def test_images_of_the_size_stay_and_smaller_squares_are_scaled_whole() -> None:
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    content = encoded(Image.fromarray(pixels))
    assert np.array_equal(decode_image(content, TargetSize(4, 4, 0.5)), pixels)
    larger = decode_image(content, TargetSize(8, 8, 0.5))
    assert np.array_equal(larger, np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR)))


def bomb(width: int, height: int) -> bytes:
    """Return a small PNG file that claims this size."""
    content = encoded(image(0))
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"text", "it is no image of a known format"),
        (encoded(image(0))[:43], "truncated"),
        (bomb(10_001, 10_000), "it has 10,001 x 10,000 pixels, more than 100,000,000"),
        (bomb(2**20, 2**20), "it has more than 100,000,000 pixels"),
        (encoded(Image.new("F", (8, 8)), "TIFF"), "it has floating-point pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "it is no image of a known format"),
    ],
)
def test_other_files_are_explained(content: bytes, reason: str) -> None:
    with pytest.raises(UndecodableImage, match=reason):
        decode_image(content, SMALL)


def test_a_truncated_photograph_is_no_image() -> None:
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")
    assert Image.open(io.BytesIO(content)).size == (64, 64)
    with pytest.raises(UndecodableImage, match="truncated"):
        decode_image(content[:-500], SMALL)
