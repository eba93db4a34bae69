"""The folder that a runner works in, and the lines that it prints: all that it shares with its supervisor."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from nern_core.metrics import Metrics
from nern_core.options import EncodeOptions
from nern_core.progress import Progress

LONGEST_MESSAGE = 1000


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

    def results(self) -> list[str]:
        """Names of the results of a runner that has ended well."""
        return [*RESULTS, *(name for name in OPTIONAL_RESULTS if self.result(name).exists())]


class RunSpec(BaseModel):
    """What a runner is to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: EncodeOptions


class ErrorLine(BaseModel):
    """Why there is no result."""

    model_config = ConfigDict(frozen=True)

    code: str = Field(max_length=64)
    message: str = Field(max_length=LONGEST_MESSAGE)


class RunnerLine(BaseModel):
    """One line of a runner's standard output: exactly one of the two."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    progress: Progress | None = None
    error: ErrorLine | None = None

    def encoded(self) -> str:
        """The line, without its end."""
        return self.model_dump_json(exclude_none=True)


RESULTS = ("weights.safetensors", "weights.pt", "encoding.nern", "report.html", "report.json")
# What a runner leaves only where the options ask for it and the checkpoint and the data allow it.
OPTIONAL_RESULTS = ("importance.json", "importance.safetensors", "pruning-curve.svg")


class RunnerReport(BaseModel):
    """What a supervisor reads of a report."""

    metrics: Metrics
