"""Draw the pictures of docs/method.md, from the example network.

python -m bench.draw_method writes docs/method-*.svg and, with the figures in them, bench/results/method.json. The
network is encoded twice, as a predictor and with quantized weights at a fifteenth of its size, with budgets in steps.
Pictures have no background and grey ink, so that they are readable on light and dark pages.
"""

import argparse
import io
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from torch import Tensor

from bench.assets import EXAMPLES, HERE, RESULTS
from bench.machine import describe_machine
from nern_core.codec.streams import unpack_layers
from nern_core.contract.options import EncodeOptions, Permutation
from nern_core.contract.report import Report
from nern_core.encoder import encode
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.files import measure_sizes, read_encoding
from nern_core.representations.predicted.embedding import PositionalEncoding, positional_encoding
from nern_core.representations.predicted.permutation import order_kernels
from nern_core.representations.quantized.layer_shape import shape_of
from nern_core.representations.quantized.weights import StoredWeights
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.tensors.kernels import cut, select_layers

ROOT = HERE.parent
DOCS = ROOT / "docs"
CHECKPOINT = EXAMPLES / "digits-cnn.safetensors"
OPTIONS: dict[str, Any] = {"architecture": "digits-cnn", "dataset": str(EXAMPLES / "digits")}
PREDICTOR_STEPS = 3000
QUANTIZED_STEPS = 400
RATIO = 15
_INK = "#808080"
_COLOURS = ("#0072B2", "#D55E00", "#009E73")
_STYLE: Any = {
    "svg.hashsalt": "nern",
    "svg.fonttype": "none",
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
}


def main() -> None:
    """Draw all pictures and record their figures."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    tensors = read_checkpoint(CHECKPOINT).tensors
    layer = select_layers(tensors, ["spatial"])[-1]
    with tempfile.TemporaryDirectory() as folder, mpl.rc_context(_STYLE):
        draw_encoding(layer.channels)
        order = draw_order(cut(tensors[layer.name], layer), layer)
        options = EncodeOptions(**OPTIONS, representation="predictor", steps=PREDICTOR_STEPS)
        predicted = encode(CHECKPOINT, Path(folder) / "predicted.nern", options)
        phases = draw_phases(predicted.report)
        quantized = Path(folder) / "quantized.nern"
        report = encode(
            CHECKPOINT, quantized, EncodeOptions(**OPTIONS, target_ratio=RATIO, steps=QUANTIZED_STEPS)
        ).report
        integers = draw_integers(quantized) | accuracy_of(report)
    result = {"machine": describe_machine(), "order": order, "predictor": phases, "quantized": integers}
    (RESULTS / "method.json").write_text(json.dumps(result, indent=2) + "\n")


def draw_encoding(channels: int) -> None:
    """Draw the sinusoids of the channel coordinate, with the published settings."""
    variant = PositionalEncoding()
    codes = positional_encoding(torch.arange(channels), levels=variant.levels, base=variant.base)
    figure, (axes,) = _figure(1, height=2.6)
    axes.imshow(codes.T, cmap="coolwarm", aspect="auto", interpolation="nearest")
    axes.set(xlabel="channel coordinate c", ylabel="number in its code")
    _save(figure, "encoding")


def draw_order(kernels: Tensor, layer: KernelLayer) -> dict[str, Any]:
    """Draw the similarity of neighbours, with and without a permutation; return the mean cosines."""
    figure, (axes,) = _figure(1, height=2.8)
    means = {}
    units = torch.nn.functional.normalize(kernels, dim=1)
    share = torch.linspace(0, 100, len(units) - 1)
    for colour, method in zip(_COLOURS, Permutation, strict=True):
        order = order_kernels(kernels, layer.filters, method)
        placed = units if order is None else units[order]
        cosines = (placed[1:] * placed[:-1]).sum(dim=1).sort().values
        means[method.value] = round(float(cosines.mean()), 4)
        axes.plot(share[::16], cosines[::16], color=colour, label=method.value)
    axes.set(xlabel="share of neighbouring kernels, %", ylabel="their cosine, at most")
    axes.legend(frameon=False)
    _save(figure, "order")
    return {"layer": layer.name, "kernels": len(kernels), "mean_cosine": means}


def draw_phases(report: Report) -> dict[str, Any]:
    """Draw the losses of both phases; return the accuracies."""
    phases = list(dict.fromkeys(point.phase for point in report.curve))
    figure, row = _figure(len(phases), height=2.6)
    for axes, phase, colour in zip(row, phases, _COLOURS, strict=False):
        points = [point for point in report.curve if point.phase == phase]
        axes.plot([point.step for point in points], [point.loss for point in points], color=colour)
        axes.set(title=phase, xlabel="step", yscale="log")
    row[0].set_ylabel("loss")
    _save(figure, "phases")
    return accuracy_of(report) | {"hidden_size": report.hidden_size}


def draw_integers(path: Path) -> dict[str, Any]:
    """Draw the integers of two filters of a layer; return their bits."""
    encoding, sizes = read_encoding(path), measure_sizes(path)
    assert isinstance(encoding.weights, StoredWeights)
    index = max(range(len(encoding.document.layers)), key=lambda i: encoding.document.layers[i].weights)
    layers = unpack_layers(encoding.weights.streams, [shape_of(layer) for layer in encoding.document.layers])
    integers = torch.from_numpy(layers[index].integers)
    spread = integers.double().flatten(1).std(dim=1).argsort()
    figure, (axes,) = _figure(1, height=2.6)
    for place, colour, label in ((0.05, _COLOURS[0], "a quiet filter"), (0.95, _COLOURS[1], "a loud filter")):
        values = integers[spread[int(place * len(spread))]].flatten()
        counts = Counter(values.tolist())
        there = range(min(counts), max(counts) + 1)
        axes.plot(there, [100 * counts[value] / len(values) for value in there], "o-", color=colour, label=label)
    axes.set(xlabel="integer", ylabel="share of the filter's weights, %")
    axes.legend(frameon=False)
    _save(figure, "integers")
    weights = sum(layer.weights for layer in encoding.document.layers)
    return {
        "layer": encoding.document.layers[index].name,
        "bits_per_weight": round(8 * sizes.integers / weights, 3),
    }


def accuracy_of(report: Report) -> dict[str, Any]:
    """Return the recorded figures of an encoding."""
    metrics = report.metrics
    return {
        "source_bytes": metrics.source_bytes,
        "file_bytes": metrics.file_bytes,
        "original_accuracy": metrics.original_accuracy,
        "reconstructed_accuracy": metrics.reconstructed_accuracy,
    }


def _figure(panels: int, *, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure((7.2, height), layout="constrained")
    FigureCanvasSVG(figure)
    (row,) = figure.subplots(1, panels, squeeze=False)
    return figure, list(row)


def _save(figure: Figure, name: str) -> None:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    (DOCS / f"method-{name}.svg").write_text(text.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    main()
