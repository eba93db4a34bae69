"""The folder that a runner works in, and the lines that it prints: all that it shares with its supervisor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nern_core.options import EncodeOptions


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names of the files in a runner's folder."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The uploaded file."""
        return self.path / "checkpoint"

    @property
    def spec(self) -> Path:
        """What is to be done: a `RunSpec` as JSON."""
        return self.path / "spec.json"

    @property
    def report(self) -> Path:
        """The report, written last."""
        return self.result("report.json")

    def result(self, name: str) -> Path:
        """A result by its published name."""
        return self.path / name


class RunSpec(BaseModel):
    """What a runner is to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: EncodeOptions


class ProgressLine(BaseModel):
    """How far the encoding is, as the row keeps it."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    phase: str = Field(max_length=32)
    fraction: float = Field(ge=0, le=1)
    step: int = Field(ge=0)
    total: int | None = None
    loss: float | None = None
    steps_per_second: float | None = None
    seconds_left: float | None = None


class ErrorLine(BaseModel):
    """Why there is no result."""

    model_config = ConfigDict(frozen=True)

    code: str = Field(max_length=64)
    message: str = Field(max_length=4096)


class RunnerLine(BaseModel):
    """One line of a runner's standard output: exactly one of the two."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    progress: ProgressLine | None = None
    error: ErrorLine | None = None

    def encoded(self) -> str:
        """The line, without its end."""
        return self.model_dump_json(exclude_none=True)


RESULTS = ("weights.safetensors", "weights.pt", "encoding.nern", "report.json")


def metrics_of(report: dict[str, Any]) -> dict[str, Any]:
    """The metrics in a parsed report."""
    metrics: dict[str, Any] = report["metrics"]
    return metrics
