import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from nern_core.analysis.report.kernel_pictures import KernelSample, draw_kernels, sample_kernels
from nern_core.decoder import decode
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.files import read_encoding
from nern_core.representations.predicted.weights import predicted_weights
from nern_core.tensors.checkpoint import read_checkpoint

SVG = "{http://www.w3.org/2000/svg}"


def sample(shape: tuple[int, ...], tile: int | None = None, name: str = "w", kernels: int = 2) -> KernelSample:
    layer = KernelLayer(name=name, shape=shape, tile=tile, dtype="float32")
    original = torch.randn(kernels, layer.kernel_values, generator=torch.Generator().manual_seed(0))
    return KernelSample(layer=layer, original=original, decoded=original / 2)


def pixels(drawing: str) -> list[tuple[str, int, int]]:
    """Return colour, left and top of every drawn value."""
    found = []
    for path in ET.fromstring(drawing).iter(f"{SVG}path"):
        for corner in path.attrib["d"].split("M")[1:]:
            x, y = corner.partition("h")[0].split()
            found.append((path.attrib["fill"], int(x), int(y)))
    return found


@pytest.mark.parametrize(
    ("shape", "tile", "columns", "rows"),
    [
        ((2, 1, 3, 3), None, 3, 3),
        ((2, 1, 1, 7), None, 7, 1),
        ((2, 1, 5), None, 5, 1),
        ((2, 1, 2, 3, 4), None, 8, 3),
        ((2, 16), 16, 16, 1),
        ((2, 16, 1, 1), 16, 16, 1),
        ((2, 16, 3, 3), 36, 12, 3),
        ((2, 16, 2, 3, 4), 48, 16, 3),
    ],
    ids=["plane", "flat plane", "line", "volume", "tile", "pointwise", "planes", "volumes"],
)
def test_every_value_of_a_kernel_of_any_shape_is_drawn_once(
    shape: tuple[int, ...], tile: int | None, columns: int, rows: int
) -> None:
    drawn = sample(shape, tile)
    found = pixels(draw_kernels(drawn))
    assert len(found) == len({(x, y) for _, x, y in found}) == 3 * drawn.original.numel()
    # Two kernels side by side, three rows of pictures.
    assert len({x for _, x, _ in found}) == 2 * columns
    assert len({y for _, _, y in found}) == 3 * rows


def test_red_is_positive_blue_is_negative_and_white_is_zero() -> None:
    layer = KernelLayer(name="w", shape=(1, 1, 1, 3), tile=None, dtype="float32")
    values = torch.tensor([[1.0, 0.0, -1.0]])
    drawn = draw_kernels(KernelSample(layer=layer, original=values, decoded=values))
    rows: dict[int, list[str]] = {}
    for color, _, y in sorted(pixels(drawn), key=lambda pixel: (pixel[2], pixel[1])):
        rows.setdefault(y, []).append(color)
    assert list(rows.values()) == [["#ff0000", "#ffffff", "#0000ff"]] * 2 + [["#ffffff"] * 3]


def test_a_layer_of_zeros_is_white() -> None:
    layer = KernelLayer(name="w", shape=(1, 1, 3, 3), tile=None, dtype="float32")
    drawn = draw_kernels(KernelSample(layer=layer, original=torch.zeros(1, 9), decoded=torch.zeros(1, 9)))
    assert {color for color, _, _ in pixels(drawn)} == {"#ffffff"}


def test_a_hostile_name_is_text() -> None:
    drawn = draw_kernels(sample((2, 1, 3, 3), name='</text><script>"&'))
    root = ET.fromstring(drawn)
    assert root.find(f"{SVG}script") is None
    assert '</text><script>"&' in str(root.findtext(f"{SVG}text"))
    assert '</text><script>"&' in root.attrib["aria-label"]


def test_kernels_are_taken_evenly_in_the_order_of_the_predictor(odd_shapes: tuple[Path, Path]) -> None:
    checkpoint, path = odd_shapes
    encoding, original, decoded = read_encoding(path), read_checkpoint(checkpoint).tensors, decode(path).tensors
    index = next(i for i, layer in enumerate(encoding.document.layers) if layer.name == "b.line")
    taken = sample_kernels(encoding, index, original, decoded)
    order = predicted_weights(encoding).orders[index]
    assert order is not None
    # 72 kernels; a row of pictures has room for 21.
    chosen = order[[72 * i // 21 for i in range(21)]]
    assert torch.equal(taken.original, original["b.line"].reshape(72, 5)[chosen])
    assert torch.equal(taken.decoded, decoded["b.line"].reshape(72, 5)[chosen])
