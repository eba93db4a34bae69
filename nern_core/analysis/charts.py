"""Line charts as SVG documents. The same points give the same text."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

_WIDTH_INCHES, _HEIGHT_INCHES = 7.2, 4.2
# Extra width for each further chart.
_PANEL_INCHES = 4.6
# Okabe and Ito's colours are distinguishable for the colour-blind; the marker shapes are distinguishable in black and
# white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "*", "X")


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name in the legend and its points (x, y), in order."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart beside others: its title and its lines."""

    title: str
    series: tuple[Series, ...]


def line_chart(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, log_x: bool = False, log_y: bool = False
) -> str:
    """Draw the lines into one chart and return an SVG document. Several lines get a legend, beside the data."""
    panel = Panel(title, tuple(series))
    return line_panels([panel], x_label=x_label, y_label=y_label, log_x=log_x, log_y=log_y)


def line_panels(
    panels: Sequence[Panel], *, x_label: str, y_label: str, log_x: bool = False, log_y: bool = False
) -> str:
    """Draw charts of the same lines side by side, with shared axes and one legend, and return an SVG document."""
    # A fixed salt, because the default is random. Text stays text, which is small and searchable, and $ is not parsed
    # as math.
    with mpl.rc_context({"svg.hashsalt": "nern", "svg.fonttype": "none", "text.parse_math": False}):
        figure = Figure((_WIDTH_INCHES + _PANEL_INCHES * (len(panels) - 1), _HEIGHT_INCHES), layout="constrained")
        FigureCanvasSVG(figure)
        (row,) = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)
        for axes, panel in zip(row, panels, strict=True):
            _draw(axes, panel.series)
            axes.set(title=panel.title, xlabel=x_label)
        row[0].set_ylabel(y_label)
        if log_x:
            _make_logarithmic(row[0], "x")
        if log_y:
            _make_logarithmic(row[0], "y")
        if len(panels[0].series) > 1:
            figure.legend(handles=row[0].lines, loc="outside right upper", frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _draw(axes: Axes, series: Sequence[Series]) -> None:
    axes.set_prop_cycle(color=_COLOURS, marker=_MARKERS)
    for line in series:
        (drawn,) = axes.plot(*zip(*line.points, strict=True), label=line.name, markersize=5)
        # Few points are separate measurements and get markers; many points are a curve.
        if len(line.points) > 20:
            drawn.set_marker("")
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _make_logarithmic(axes: Axes, direction: Literal["x", "y"]) -> None:
    """Make an axis logarithmic in all panels that share it; labels are 300, not 3 times a power of ten."""
    axes.set(**{f"{direction}scale": "log"})
    axis = axes.xaxis if direction == "x" else axes.yaxis
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
