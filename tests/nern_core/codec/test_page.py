"""The decoder in `docs/file-format-quantized.md` is written from the page alone; it must agree with this package."""

import re
from typing import Any

import numpy as np
import pytest

from nern_core.codec.layers import CodedLayer
from nern_core.codec.streams import pack_layers
from tests.nern_core.codec.coded_layers import layer_of, random_layer
from tests.nern_core.codec.test_golden_streams import GOLDEN, SHAPES, streams
from tests.paths import ROOT


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """Names that the page's programs define; its example checks itself."""
    names: dict[str, Any] = {}
    text = (ROOT / "docs" / "file-format-quantized.md").read_text()
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        exec(block, names)
    return names


def test_the_decoder_of_the_page_decodes_its_example(page: dict[str, Any]) -> None:
    assert page["second"] == [17, -20, 0, 900]


@pytest.mark.parametrize(
    "layers",
    [
        [random_layer(3, 5, (3, 3), is_transformed=True), random_layer(4, 9, (1,), scale=33)],
        [random_layer(2, 2, (2, 1, 3), scale=30, is_transformed=True), layer_of([5, 1 << 24, -(1 << 24)])],
        [random_layer(2000, 20, (1,), scale=12)],
    ],
    ids=["kernels", "extremes", "two lanes"],
)
def test_the_decoder_of_the_page_agrees(layers: list[CodedLayer], page: dict[str, Any]) -> None:
    shapes = [(layer.shape.filters, layer.shape.channels, layer.sides) for layer in layers]
    found = page["read_layers"](pack_layers(layers), shapes)
    assert [integers for integers, _ in found] == [layer.integers.flatten().tolist() for layer in layers]


def test_the_decoder_of_the_page_decodes_the_golden_streams_to_the_same_bits(page: dict[str, Any]) -> None:
    shapes = [(shape.filters, shape.channels, shape.sides) for shape in SHAPES]
    found = page["read_layers"](streams(), shapes)
    with np.load(GOLDEN) as arrays:
        for index, (_, weights) in enumerate(found):
            assert weights == arrays[f"float32{index}"].flatten().tolist()
