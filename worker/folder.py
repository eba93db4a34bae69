"""The folder that a runner works in: which file is where, and what it is to do."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from pydantic import BaseModel, ConfigDict

from nern_core.options import EncodeOptions

# The exit status of a runner that was asked to stop and has saved where it is (sysexits.h: try again).
INTERRUPTED = 75
# That of a runner whose machine has failed it, such as by a full disk (sysexits.h: input or output error).
MACHINE_FAULT = 74


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names of the files in a runner's folder."""

    path: Path

    @classmethod
    def of_attempt(cls, scratch: Path, job_id: str, attempt: int) -> Self:
        """The folder of an attempt at a job."""
        return cls(scratch.resolve() / f"{job_id}-{attempt}")

    @property
    def job_id(self) -> str:
        """The job that is worked on here."""
        return self.path.name.rpartition("-")[0]

    @property
    def checkpoint(self) -> Path:
        """The uploaded file, if it is to be encoded."""
        return self.path / "checkpoint"

    @property
    def encoding(self) -> Path:
        """The uploaded file, if it is to be reconstructed."""
        return self.path / "encoding.nern"

    @property
    def datasets(self) -> Path:
        """Folder of an uploaded data set, a file of its name. The runner works here: its name is its path."""
        return self.path / "datasets"

    @property
    def spec(self) -> Path:
        """The order for the runner: a `RunSpec` as JSON."""
        return self.path / "spec.json"

    @property
    def report(self) -> Path:
        """The report, written last."""
        return self.result("report.json")

    @property
    def caches(self) -> Path:
        """Folder of the caches of libraries."""
        return self.path / "caches"

    @property
    def snapshots(self) -> Path:
        """Folder of the snapshots: those of earlier attempts, and those that the runner makes."""
        return self.path / "snapshots"

    @property
    def results(self) -> Path:
        """Folder of the results."""
        return self.path / "results"

    @property
    def home(self) -> Path:
        """Folder of whatever libraries want to keep."""
        return self.path / "home"

    def make(self) -> None:
        """Make the folders that the runner works in and writes into."""
        for folder in (self.datasets, self.snapshots, self.results, self.home):
            folder.mkdir(parents=True)

    def result(self, name: str) -> Path:
        """A result by its published name."""
        return self.results / name

    def result_names(self) -> list[str]:
        """Names of the results of an encoding that has ended well."""
        return [*RESULTS, *(name for name in OPTIONAL_RESULTS if self.result(name).exists())]


def open_regular(path: Path) -> BinaryIO:
    """Open a file that a runner may be changing. Raises `OSError` for a link, or what is no ordinary file."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, f"{path.name} is no ordinary file")
    return file


class RunSpec(BaseModel):
    """The order for a runner: its work, the memory that it may take and the largest file that it may write.

    It encodes the checkpoint as the options say, and without options it reconstructs the encoding. `started` is when
    the attempt began, as `time.perf_counter` counts: all processes of a machine share that clock, and nobody sets it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: EncodeOptions | None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    require_sandbox: bool = False
    seconds_between_snapshots: float = 20.0
    started: float | None = None


RESULTS = ("weights.safetensors", "weights.pt", "encoding.nern", "report.html", "report.json")
# What a runner leaves that reconstructs.
RECONSTRUCTED = ("weights.safetensors", "weights.pt")
# What a runner leaves only where the options ask for it and the checkpoint and the data allow it.
OPTIONAL_RESULTS = ("importance.json", "importance.safetensors", "pruning-curve.svg")
