"""Line charts as SVG documents: the same points give the same text."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

_SIZE_INCHES = (7.2, 4.2)
# Okabe and Ito's colours can be told apart by the colour-blind; shapes can be in black and white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "*", "X")


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name in the legend and its points (x, y), in order."""

    name: str
    points: tuple[tuple[float, float], ...]


def line_chart(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, log_x: bool = False, log_y: bool = False
) -> str:
    """Draw the lines into one chart; returns an SVG document. Several lines get a legend, beside the data."""
    # The salt is random otherwise; text stays text, which is small and can be searched, and a $ is a $.
    with mpl.rc_context({"svg.hashsalt": "nern", "svg.fonttype": "none", "text.parse_math": False}):
        figure = Figure(_SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_prop_cycle(color=_COLOURS, marker=_MARKERS)
        for line in series:
            (drawn,) = axes.plot(*zip(*line.points, strict=True), label=line.name, markersize=5)
            # Few points are measurements of their own, many are a curve.
            if len(line.points) > 20:
                drawn.set_marker("")
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        if log_x:
            axes.set_xscale("log")
            _label_plainly(axes.xaxis)
        if log_y:
            axes.set_yscale("log")
            _label_plainly(axes.yaxis)
        axes.grid(visible=True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if len(series) > 1:
            figure.legend(loc="outside right upper", frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _label_plainly(axis: Axis) -> None:
    """Write 300 on a logarithmic axis instead of 3 times a power of ten."""
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
