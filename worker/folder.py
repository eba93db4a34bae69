"""The working folder of a runner: its files and the specification of its work."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from pydantic import BaseModel, ConfigDict

from nern_core.contract.options import EncodeOptions

# Exit status of a runner that was asked to stop and has saved a snapshot (sysexits.h: try again).
INTERRUPTED = 75
# Exit status of a runner after a fault of its machine, such as a full disk (sysexits.h: input or output error).
MACHINE_FAULT = 74


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of the files in a runner's folder."""

    path: Path

    @classmethod
    def of_attempt(cls, scratch: Path, job_id: str, attempt: int) -> Self:
        """Return the folder of an attempt at a job."""
        return cls(scratch.resolve() / f"{job_id}-{attempt}")

    @property
    def job_id(self) -> str:
        """The job that this folder belongs to."""
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
        """Folder of an uploaded data set, a file with its name. The runner's working folder, so the name is a path."""
        return self.path / "datasets"

    @property
    def spec(self) -> Path:
        """The specification of the work: a `RunSpec` as JSON."""
        return self.path / "spec.json"

    @property
    def report(self) -> Path:
        """The report, written last."""
        return self.result("report.json")

    @property
    def caches(self) -> Path:
        """Folder of library caches."""
        return self.path / "caches"

    @property
    def snapshots(self) -> Path:
        """Folder of snapshots: those of earlier attempts and those that the runner writes."""
        return self.path / "snapshots"

    @property
    def results(self) -> Path:
        """Folder of the results."""
        return self.path / "results"

    @property
    def home(self) -> Path:
        """Home folder, for other files of libraries."""
        return self.path / "home"

    def make(self) -> None:
        """Create the folders that the runner works in and writes into."""
        for folder in (self.datasets, self.snapshots, self.results, self.home):
            folder.mkdir(parents=True)

    def result(self, name: str) -> Path:
        """Return the path of a result by its published name."""
        return self.results / name

    def result_names(self, *, encodes: bool = True) -> list[str]:
        """Return the names of the results of a successful encoding or reconstruction."""
        names, optional = (RESULTS, OPTIONAL_RESULTS) if encodes else (RECONSTRUCTED, ())
        return [*names, *(name for name in (*optional, ONNX_RESULT) if self.result(name).exists())]


def open_regular(path: Path) -> BinaryIO:
    """Open a file that a runner may be changing. Raises `OSError` for a link or anything but a regular file."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, f"{path.name} is not a regular file")
    return file


class RunSpec(BaseModel):
    """Specification of a runner's work, and its limits on memory and file size.

    With `options` it encodes the checkpoint, without options it reconstructs the encoding. `started` is the start of
    the attempt on the clock `time.perf_counter`, which all processes of a machine share and nobody can set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: EncodeOptions | None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    require_sandbox: bool = False
    seconds_between_snapshots: float = 20.0
    started: float | None = None


RESULTS = ("weights.safetensors", "weights.pt", "encoding.nern", "report.html", "report.json")
# Results of a reconstruction.
RECONSTRUCTED = ("weights.safetensors", "weights.pt")
# Of checkpoints that were ONNX files.
ONNX_RESULT = "weights.onnx"
# Results that exist only if the options ask for them and the checkpoint and the data allow them.
OPTIONAL_RESULTS = ("importance.json", "importance.safetensors", "pruning-curve.svg")
