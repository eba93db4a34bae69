"""Protocol between a runner and its supervisor: lines on standard output, and the metrics in its report.

A runner has read an untrusted file. All its output is checked here before it is stored or logged: sizes and numbers are
bounded, and text contains no characters that a database refuses or a terminal interprets.
"""

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nern_core.contract.metrics import Metrics
from nern_core.contract.progress import Progress

LONGEST_MESSAGE = 1000
# Largest report, in bytes: for a network of a thousand layers it has some hundred kilobytes.
LONGEST_REPORT = 32 * 2**20
# Most snapshots: a training has some tens of stages, each with a snapshot.
MOST_SNAPSHOTS = 1000
# Limits of a job's row: characters of the metrics as JSON, and integers that every JSON parser keeps exactly.
_LONGEST_METRICS = 64 * 2**10
_LARGEST_INTEGER = 2**53
# C0 and C1 controls, characters that change the direction of text, and lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Escape every character that PostgreSQL refuses or that a terminal interprets."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class ErrorLine(BaseModel):
    """The reason why there is no result."""

    model_config = ConfigDict(frozen=True)

    code: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    message: Annotated[str, Field(max_length=LONGEST_MESSAGE), AfterValidator(printable)]


def _snapshot_within_bounds(name: str) -> str:
    if int(name.removeprefix("stage-")) >= MOST_SNAPSHOTS:
        raise ValueError(f"a training has at most {MOST_SNAPSHOTS} stages")
    return name


def _progress_within_bounds(progress: Progress) -> Progress:
    _storable(progress.model_dump(mode="json"))
    return progress


class RunnerLine(BaseModel):
    """One line of a runner's standard output: exactly one of the three. `snapshot` names a complete snapshot."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    progress: Annotated[Progress, AfterValidator(_progress_within_bounds)] | None = None
    error: ErrorLine | None = None
    snapshot: Annotated[str, Field(pattern=r"^stage-[0-9]{1,4}$"), AfterValidator(_snapshot_within_bounds)] | None = (
        None
    )

    def encoded(self) -> str:
        """Return the line as JSON, without a line break."""
        return self.model_dump_json(exclude_none=True)


class RunnerReport(BaseModel):
    """The part of a report that a supervisor reads."""

    metrics: Metrics


def read_metrics(report: Path) -> dict[str, Any]:
    """Read the metrics in a report, as JSON. Raises `ValueError` for metrics that a row cannot hold."""
    with report.open("rb") as file:
        metrics = RunnerReport.model_validate_json(file.read(LONGEST_REPORT)).metrics.model_dump(mode="json")
    found: dict[str, Any] = _storable(metrics)
    if len(json.dumps(found)) > _LONGEST_METRICS:
        raise ValueError("the metrics are too long")
    return found


def _storable(value: Any) -> Any:  # noqa: ANN401 # any JSON value
    """Make the text in a JSON value printable. Raises `ValueError` for numbers that the database cannot store."""
    match value:
        case bool() | None:
            return value
        case int() if abs(value) <= _LARGEST_INTEGER:
            return value
        case float() if math.isfinite(value):
            return value
        case str():
            return printable(value)
        case list():
            return [_storable(item) for item in value]
        case dict():
            return {printable(key): _storable(item) for key, item in value.items()}
        case _:
            raise ValueError("a number is not finite or is too large")
