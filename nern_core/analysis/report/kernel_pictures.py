"""Pictures of original and decoded kernels, as SVG."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor

from nern_core.container.encoding import Encoding
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.registry import find_representation
from nern_core.tensors.kernels import cut

_WIDTH = 864
_LARGEST_PIXEL = 7
_WIDEST_KERNEL = 84
_GAP, _LEFT, _TOP = 6, 118, 30
_SHADES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelSample:
    """Kernels of a layer, float32 (n, kernel values), original and decoded, evenly spaced in the predictor's order."""

    layer: KernelLayer
    original: Tensor
    decoded: Tensor


def sample_kernels(
    encoding: Encoding[Any], index: int, original: Mapping[str, Tensor], decoded: Mapping[str, Tensor]
) -> KernelSample:
    """Take as many kernels of the represented layer `index` as fit into a picture."""
    layer, order = (
        encoding.document.layers[index],
        find_representation(encoding.document.kind).kernel_order(encoding, index),
    )
    count = min(layer.kernels, max(1, _WIDTH // (_Grid(layer).width + _GAP)))
    chosen = torch.arange(count) * layer.kernels // count
    rows = chosen if order is None else order[chosen]
    return KernelSample(
        layer=layer, original=cut(original[layer.name], layer)[rows], decoded=cut(decoded[layer.name], layer)[rows]
    )


def draw_kernels(sample: KernelSample) -> str:
    """Draw rows of the original kernels, the decoded ones and their difference; blue is negative, red is positive.

    Kernels of one axis are rows of values; those of three axes and those that share a coordinate are slices side by
    side. Returns an SVG document.
    """
    grid = _Grid(sample.layer)
    rows = {"original": sample.original, "decoded": sample.decoded, "difference": sample.decoded - sample.original}
    largest = float(torch.quantile(sample.original.abs().flatten(), 0.98)) or 1.0
    right = _LEFT + len(sample.original) * (grid.width + _GAP)
    bottom = _TOP + len(rows) * (grid.height + _GAP) + _GAP
    title = f"Kernels of {escape(sample.layer.name)}, in the predictor's order"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right} {bottom}" width="{right}" height="{bottom}"',
        f' font-family="sans-serif" font-size="13" role="img" aria-label="{title}">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="8" y="19" fill="#222">{title}</text>',
    ]
    for row, (name, kernels) in enumerate(rows.items()):
        y = _TOP + row * (grid.height + _GAP)
        parts.append(f'<text x="8" y="{y + grid.height // 2 + 5}" fill="#222">{name}</text>')
        parts += _row(kernels / largest, grid, y)
    return "\n".join([*parts, "</svg>", ""])


class _Grid:
    """Positions of a kernel's values in the picture, and the size in pixels of the whole kernel."""

    def __init__(self, layer: KernelLayer) -> None:
        slices, rows, columns = _slices_rows_and_columns(layer)
        # A gap of one pixel separates the slices.
        across = slices * (columns + 1) - 1
        self.pixel = max(2, min(_LARGEST_PIXEL, _WIDEST_KERNEL // across))
        # Otherwise a single row of values would be a hairline.
        self.pixel_height = 3 * self.pixel if rows == 1 else self.pixel
        self.width, self.height = across * self.pixel, rows * self.pixel_height
        self.corners = [
            ((s * (columns + 1) + j) * self.pixel, i * self.pixel_height)
            for s in range(slices)
            for i in range(rows)
            for j in range(columns)
        ]


def _slices_rows_and_columns(layer: KernelLayer) -> tuple[int, int, int]:
    """Return the shape of the picture; kernels that share a coordinate are slices side by side."""
    spatial = layer.shape[2:]
    shared, rest = divmod(layer.kernel_values, math.prod(spatial))
    shape = (shared, *spatial) if spatial and layer.tile is not None and not rest else layer.kernel_shape
    *slices, rows, columns = (1, 1, *shape)
    return math.prod(slices), rows, columns


def _row(kernels: Tensor, grid: _Grid, y: int) -> list[str]:
    """Draw one path per colour, which is much shorter than a rectangle per value."""
    places: dict[str, list[str]] = defaultdict(list)
    pixel = f"h{grid.pixel}v{grid.pixel_height}h-{grid.pixel}z"
    for number, kernel in enumerate(kernels.tolist()):
        x = _LEFT + number * (grid.width + _GAP)
        for value, (right, down) in zip(kernel, grid.corners, strict=True):
            places[_color(value)].append(f"M{x + right} {y + down}{pixel}")
    return [
        f'<path shape-rendering="crispEdges" fill="{color}" d="{"".join(corners)}"/>'
        for color, corners in places.items()
    ]


def _color(value: float) -> str:
    """Return the colour of a value: white at 0, red at 1, blue at -1."""
    faded = 255 - round(255 * round(_SHADES * min(1.0, abs(value))) / _SHADES)
    return f"#ff{faded:02x}{faded:02x}" if value > 0 else f"#{faded:02x}{faded:02x}ff"
