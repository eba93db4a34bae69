"""Display of progress and results: a live bar on a terminal, plain lines elsewhere.

Progress goes to standard error and results to standard output, so that a pipe carries only results.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from nern_cli.terminal_text import print_line, print_note, printable
from nern_core.contract.metrics import MOST_LAYER_ERRORS
from nern_core.contract.progress import Progress as Observation

if TYPE_CHECKING:
    from nern_client import Progress as JobProgress

_SECONDS_BETWEEN_LINES = 5.0
_WIDEST = 10_000
# Fields whose keys are data, such as names of tensors, which are shown as they are.
_DATA_FIELDS = frozenset({"artifacts", "labels", "layer_errors", "seconds"})
# Columns that values need beside a name; longer names are folded too.
_NARROWEST_VALUES = 16
_COUNTS = ("bytes", "kernels", "parameters", "weights")


class ProgressDisplay:
    """Shows the progress of one encoding while the context is open; without `lines`, only on a terminal."""

    def __init__(self, *, lines: bool = True) -> None:
        self._console = Console(stderr=True)
        self._lines = lines
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._phase: str | None = None
        self._last_line = float("-inf")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:<14}", markup=False),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[details]}", markup=False),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("starting", total=1.0, details="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, progress: Observation) -> None:
        """Show one observation; plain lines are printed at each new phase and every few seconds."""
        self.update(progress.phase, progress.fraction, describe_progress(progress))

    def update(self, phase: str, fraction: float, details: str) -> None:
        """Show the phase and the completed fraction of the whole."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=printable(phase), completed=fraction, details=printable(details))
            return
        now = time.monotonic()
        if self._lines and (phase != self._phase or now - self._last_line >= _SECONDS_BETWEEN_LINES):
            self._phase, self._last_line = phase, now
            print_note(f"{phase} {100 * fraction:.0f} % {details}".rstrip())


def describe_progress(progress: "Observation | JobProgress") -> str:
    """Format the known values of step, loss, speed and time left."""
    parts = []
    if progress.step:
        parts.append(f"step {progress.step}" + (f"/{progress.total}" if progress.total else ""))
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.4g}")
    if progress.steps_per_second is not None:
        parts.append(f"{progress.steps_per_second:.1f} steps/s")
    if progress.kernels_per_second is not None:
        parts.append(f"{progress.kernels_per_second:,.0f} kernels/s")
    if progress.seconds_left is not None:
        parts.append(f"{progress.seconds_left:.0f} s left")
    return "  ".join(parts)


def print_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object on one line of standard output."""
    print(json.dumps(result))


def print_table(title: str, result: Mapping[str, Any]) -> None:
    """Print names and values; nested names are prefixed by the name of their parent."""
    print_line(title)
    rows = _rows(result)
    console = _console()
    table = Table(show_header=False)
    # Names are folded only if they leave no room for values. Nothing is cut.
    longest = max((cell_len(name) for name, _ in rows), default=0)
    if longest + _NARROWEST_VALUES <= console.width:
        table.add_column(no_wrap=True, min_width=longest)
    else:
        table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    if not (console.is_terminal or "COLUMNS" in os.environ):
        # Programs and files get values such as digests on one line.
        _widen(console, table)
    console.print(table)


def print_result(title: str, metrics: Mapping[str, Any], layers: int | None = None) -> None:
    """Print the metrics of an encoding, and its verdict as a sentence; `layers` is their number, if it is known."""
    shown_metrics = {name: value for name, value in metrics.items() if name not in {"notes", "verdict"}}
    if metrics.get("fidelity") is not None:
        shown_metrics["fidelity"] = _fidelity_rows(metrics["fidelity"])
    print_table(title, shown_metrics)
    shown = len(metrics.get("layer_errors") or {})
    if shown < layers if layers is not None else shown >= MOST_LAYER_ERRORS:
        of_all = "" if layers is None else f" of {layers}"
        print_line(f"The layer errors are the {shown} largest{of_all}; the report (report.json) has all of them.")
    verdict = metrics.get("verdict")
    if verdict is not None:
        print_line(
            " ".join(filter(None, (f"{verdict['level'].capitalize()}.", verdict["sentence"], verdict["advice"])))
        )


# Figures of a fidelity that only some kinds of networks have.
_OF_SOME_NETWORKS: Final = frozenset({"mean_iou", "box_f1", "original_perplexity", "reconstructed_perplexity"})


def _fidelity_rows(fidelity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a fidelity by name, without nested lists and without those of other kinds of networks."""
    # The verdict says whether the inputs were held out.
    rows = {
        name: value
        for name, value in fidelity.items()
        if name not in {"outputs", "is_held_out"} and (value is not None or name not in _OF_SOME_NETWORKS)
    }
    for output in fidelity["outputs"]:
        rows |= {f"{figure} of {output['name']}": output[figure] for figure in ("relative_error", "cosine")}
    return rows


def print_points(points: Sequence[Mapping[str, Any]]) -> None:
    """Print one row for each point, with the names of its values as headings. The first column is never cut."""
    table = Table(*(printable(name.replace("_", " ")) for name in points[0]))
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True
    for point in points:
        table.add_row(*(_formatted(name, value) for name, value in point.items()))
    console = _console()
    _widen(console, table)
    console.print(table)


def _console() -> Console:
    """Return a console that does not interpret brackets and colons as markup or emoji."""
    return Console(markup=False, emoji=False)


def _widen(console: Console, table: Table) -> None:
    """Make lines long enough for the longest word; a narrower terminal wraps them."""
    narrowest = Measurement.get(console, console.options.update(width=_WIDEST), table).minimum
    console.width = max(console.width, narrowest)


def _rows(result: Mapping[str, Any], prefix: str = "", *, are_fields: bool = True) -> list[tuple[str, str]]:
    """Return names and values. Only names of fields are made readable and decide about the format of their value."""
    rows: list[tuple[str, str]] = []
    for key, value in result.items():
        name = prefix + (key.replace("_", " ") if are_fields else key)
        if isinstance(value, Mapping):
            rows += _rows(value, f"{name}: ", are_fields=not (are_fields and key in _DATA_FIELDS))
        # Omit parts that a file does not have, such as the predictor of a quantized encoding, and unknown figures.
        elif value is not None and not (are_fields and key.endswith("bytes") and value == 0):
            rows.append((printable(name), _formatted(key if are_fields else "", value)))
    return rows


def _formatted(key: str, value: Any) -> str:  # noqa: ANN401 # any JSON value
    if value is None:
        return "—"
    if key.endswith("accuracy"):
        return f"{value:.2f} %"
    if key.endswith(_COUNTS):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))
