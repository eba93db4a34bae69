"""Draw kernels of a layer as they were and as they are decoded: the picture in the README.

python -m bench.draw_kernels ORIGINAL ENCODING OUT.svg [--layer NAME] [--kernels 32]
"""

import argparse
from pathlib import Path

import torch

from nern_core.checkpoint import read_checkpoint
from nern_core.codec import read_encoding
from nern_core.decode import decode_encoding
from nern_core.kernels import cut

PIXEL, GAP, LEFT, TOP = 7, 6, 118, 30


def main() -> None:
    """Read, decode and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("original", type=Path)
    parser.add_argument("encoding", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--layer", default="layer2.1.conv1.weight")
    parser.add_argument("--kernels", type=int, default=32)
    arguments = parser.parse_args()
    encoding = read_encoding(arguments.encoding)
    index = next(i for i, layer in enumerate(encoding.document.layers) if layer.name == arguments.layer)
    layer, order = encoding.document.layers[index], encoding.orders[index]
    tensors = [read_checkpoint(arguments.original).tensors, decode_encoding(encoding).tensors]
    rows = []
    for name, weights in zip(("original", "decoded"), tensors, strict=True):
        kernels = cut(weights[layer.name], layer).reshape(layer.kernels, *layer.kernel_shape)
        ordered = kernels if order is None else kernels[order]
        rows.append((name, ordered[:: max(1, len(ordered) // arguments.kernels)][: arguments.kernels]))
    rows.append(("difference", rows[1][1] - rows[0][1]))
    arguments.output.write_text(draw(arguments.layer, rows))


def draw(layer: str, rows: list[tuple[str, torch.Tensor]]) -> str:
    """SVG with a row of kernels, each H x W, for each name; blue is negative, red is positive."""
    largest = float(torch.quantile(rows[0][1].abs().flatten(), 0.98))
    height, width = rows[0][1].shape[1:]
    right = LEFT + len(rows[0][1]) * (width * PIXEL + GAP)
    bottom = TOP + len(rows) * (height * PIXEL + GAP) + GAP
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right} {bottom}" '
            'font-family="sans-serif" font-size="13">'
        ),
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="8" y="19" fill="#222">Kernels of {layer}, along the order that the predictor sees them in</text>',
    ]
    for row, (name, kernels) in enumerate(rows):
        y = TOP + row * (height * PIXEL + GAP)
        parts.append(f'<text x="8" y="{y + height * PIXEL // 2 + 5}" fill="#222">{name}</text>')
        for column, kernel in enumerate(kernels):
            x = LEFT + column * (width * PIXEL + GAP)
            for i, values in enumerate(kernel.tolist()):
                for j, value in enumerate(values):
                    parts.append(
                        f'<rect x="{x + j * PIXEL}" y="{y + i * PIXEL}" width="{PIXEL}" height="{PIXEL}" '
                        f'fill="{color(value / largest)}"/>'
                    )
    return "\n".join([*parts, "</svg>", ""])


def color(value: float) -> str:
    """White at 0, red at 1, blue at -1."""
    strength = min(1.0, abs(value))
    faded = round(255 * (1 - strength))
    return f"#ff{faded:02x}{faded:02x}" if value > 0 else f"#{faded:02x}{faded:02x}ff"


if __name__ == "__main__":
    main()
