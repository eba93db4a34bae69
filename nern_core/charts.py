"""Line charts as SVG documents: the same points give the same text."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_SIZE_INCHES = (7.2, 4.2)
# Fixed, since matplotlib makes identifiers from a random salt; text stays text, which is small and can be searched.
_STYLE = {
    "svg.hashsalt": "nern",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name in the legend and its points (x, y), in order."""

    name: str
    points: tuple[tuple[float, float], ...]


def line_chart(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, log_x: bool = False, log_y: bool = False
) -> str:
    """Draw the lines into one chart; returns an SVG document. Several lines get a legend."""
    with mpl.rc_context(_STYLE):
        figure = Figure(_SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for line in series:
            # Few points are measurements of their own, many are a curve.
            marker = "o" if len(line.points) <= 20 else None
            axes.plot(*zip(*line.points, strict=True), label=line.name, marker=marker, markersize=4)
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        if log_x:
            axes.set_xscale("log")
        if log_y:
            axes.set_yscale("log")
        axes.grid(visible=True, alpha=0.3)
        if len(series) > 1:
            axes.legend()
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
