"""Starts and stops a runner: a new interpreter, in a process group of its own, without secrets."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import structlog
from pydantic import ValidationError

from nern_core.progress import Phase, Progress
from worker.caches import cache_variables
from worker.folder import ErrorLine, RunFolder, RunnerLine

_log = structlog.get_logger()
_LONGEST_LINE = 64 * 2**10
# A search for a size goes through some phases again and again; what is hostile would do so without end.
_MOST_PHASES = 1000
# What a computation may need of its environment. Everything else, passwords first, stays here.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH")
_PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_", "OMP_", "MKL_")
_ROOT = Path(__file__).parent.parent


class Child:
    """A running runner. Its lines are read by a thread; the latest progress and error are kept."""

    def __init__(self, folder: RunFolder) -> None:
        self.progress: Progress | None = None
        self.error: ErrorLine | None = None
        # When it has first told of each phase, by the clock.
        self.phases: list[tuple[Phase, float]] = []
        self._snapshots: set[str] = set()
        self._process = subprocess.Popen(  # noqa: S603 # an own module
            [sys.executable, "-m", "worker.runner", str(folder.path), str(os.getpid())],
            cwd=_ROOT,
            env=runner_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id, which is also that of its group."""
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """Wait for the end, for a while; returns the exit status (negative: a signal), or None."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(seconds)
        return status

    def new_snapshots(self) -> set[str]:
        """Names of the snapshots that were made or made anew since the last call."""
        # Replaced in one step, since the thread adds to it.
        found, self._snapshots = self._snapshots, set()
        return found

    @property
    def resident_bytes(self) -> int:
        """Memory that the process has at present; it cannot start others."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def terminate(self) -> None:
        """Ask the runner to save where it is and to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End the whole process group, and wait until it is gone."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()

    def _read(self, output: IO[bytes]) -> None:
        with output:
            while line := output.readline(_LONGEST_LINE):
                try:
                    said = RunnerLine.model_validate_json(line)
                except ValidationError:
                    _log.warning("runner_line_dropped", line=repr(line[:200]))
                    continue
                self.progress = said.progress or self.progress
                if said.progress:
                    self._note_phase(said.progress.phase)
                self.error = said.error or self.error
                if said.snapshot:
                    self._snapshots.add(said.snapshot)

    def _note_phase(self, phase: Phase) -> None:
        last = self.phases[-1][0] if self.phases else None
        if phase is not last and len(self.phases) < _MOST_PHASES:
            self.phases.append((phase, time.time()))


def runner_environment(folder: RunFolder) -> dict[str, str]:
    """The environment of a runner: what a computation needs of this one, and nothing secret."""
    passed_on = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    # Whatever wants to keep something finds the run's folder: the runner can write nowhere else.
    private = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(folder.home))
    return passed_on | private | cache_variables(folder.caches) | {"PYTHONDONTWRITEBYTECODE": "1"}
