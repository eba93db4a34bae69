"""The report as a single HTML page that needs no network: styles, pictures and charts are embedded."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from nern_core.analysis.baselines import DIRECT_QUANTIZATION
from nern_core.analysis.charts import Series, line_chart
from nern_core.analysis.report.files import MeasuredComparison
from nern_core.analysis.report.kernel_pictures import draw_kernels, sample_kernels
from nern_core.contract.report import CurvePoint, LayerReport, Report
from nern_core.representations.registry import find_representation

_MOST_CURVE_POINTS = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A part of the file; `start` and `share` are its position on the bar, 0 to 1; `style` is its CSS class."""

    name: str
    style: str
    bytes: int
    start: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Codec:
    """A way to store the checkpoint; `share` is its size relative to the largest one, 0 to 1.

    `output_error` is the relative error of the outputs, if no accuracy is known.
    """

    name: str
    bytes: int
    share: float
    accuracy: float | None
    output_error: float | None
    this: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Picture:
    title: str
    svg: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chart:
    title: str
    address: str


def render_page(measured: MeasuredComparison) -> str:
    """Render a measured comparison as a complete HTML document without scripts and without external addresses.

    Names come from untrusted files: the template escapes everything except the drawings, which escape names themselves.
    """
    environment = Environment(
        loader=PackageLoader("nern_core.analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": "{:,}".format, "percent": "{:.1f} %".format}
    report = measured.report
    return environment.get_template("report.html").render(
        report=report,
        facts=find_representation(measured.comparison.encoding.document.kind).describe(measured.comparison.encoding),
        parts=_parts(report),
        codecs=_codecs(report),
        names=" ".join(alternative.name for alternative in report.alternatives),
        trained=next((one for one in report.alternatives if one.name == DIRECT_QUANTIZATION), None),
        largest_error=max(layer.relative_error for layer in report.layers) or 1.0,
        pictures=_pictures(measured),
        charts=_charts(report.curve),
    )


def choose_layers(layers: Sequence[LayerReport]) -> dict[int, str]:
    """Return the indices of the layers to draw, in order, with the reason: first, middle, last, largest error."""
    worst = max(range(len(layers)), key=lambda index: layers[index].relative_error)
    chosen: dict[int, list[str]] = {}
    for index, reason in ((0, "first"), (len(layers) // 2, "middle"), (len(layers) - 1, "last"), (worst, "worst")):
        chosen.setdefault(index, []).append(reason)
    return {index: " and ".join(chosen[index]) for index in sorted(chosen)}


def _parts(report: Report) -> list[_Part]:
    metrics = report.metrics
    sizes = {
        ("predictor", "predictor"): metrics.predictor_bytes,
        ("permutations", "permutations"): metrics.permutation_bytes,
        ("integers", "integers"): metrics.integer_bytes,
        ("kept tensors", "kept"): metrics.kept_bytes,
        ("header", "header"): report.header_bytes,
    }
    parts, start = [], 0.0
    for (name, style), size in ((key, size) for key, size in sizes.items() if size):
        share = size / metrics.file_bytes
        parts.append(_Part(name=name, style=style, bytes=size, start=start, share=share))
        start += share
    return parts


def _codecs(report: Report) -> list[_Codec]:
    """List the original checkpoint, the alternatives and this encoding, the largest first."""
    metrics = report.metrics
    error = None if metrics.fidelity is None else metrics.fidelity.relative_error
    this = "this encoding"
    stored = {"original": (metrics.source_bytes, metrics.original_accuracy, None if error is None else 0.0)}
    stored |= {one.name: (one.bytes, one.accuracy, one.output_error) for one in report.alternatives}
    stored[this] = (metrics.file_bytes, metrics.reconstructed_accuracy, error)
    largest = max(size for size, _, _ in stored.values())
    rows = [
        _Codec(name=name, bytes=size, share=size / largest, accuracy=accuracy, output_error=of, this=name == this)
        for name, (size, accuracy, of) in stored.items()
    ]
    return sorted(rows, key=lambda row: -row.bytes)


def _pictures(measured: MeasuredComparison) -> list[_Picture]:
    layers, comparison = measured.report.layers, measured.comparison
    return [
        _Picture(
            title=f"{reason.capitalize()} layer",
            svg=draw_kernels(
                sample_kernels(comparison.encoding, index, comparison.original.tensors, comparison.decoded.tensors)
            ),
        )
        for index, reason in choose_layers(layers).items()
    ]


def _charts(curve: Sequence[CurvePoint]) -> list[_Chart]:
    """Draw one chart per phase, because their losses are different quantities."""
    charts = []
    for phase in dict.fromkeys(point.phase for point in curve):
        points = [(point.seconds, point.loss) for point in curve if point.phase == phase]
        # Thinned out evenly, because the chart is not wider than that, and to keep the page small.
        kept = points[:: -(-len(points) // _MOST_CURVE_POINTS)]
        series = Series(phase, tuple(kept if kept[-1] == points[-1] else [*kept, points[-1]]))
        svg = line_chart(
            [series],
            title=phase,
            x_label="seconds of training",
            y_label="loss",
            log_y=_spans_decades([loss for _, loss in series.points]),
        )
        address = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
        charts.append(_Chart(title=f"Loss of the phase {phase} against seconds of training", address=address))
    return charts


def _spans_decades(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) > 10 * min(values)
