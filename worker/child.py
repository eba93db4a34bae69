"""Starts and stops a runner: a new interpreter, in a process group of its own, without secrets."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import structlog
from pydantic import ValidationError

from nern_core.progress import Progress
from worker.folder import ErrorLine, RunFolder, RunnerLine

_log = structlog.get_logger()
_LONGEST_LINE = 64 * 2**10
# What a computation may need of its environment. Everything else, passwords first, stays here.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "NUMBA_CACHE_DIR")
_PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_", "OMP_", "MKL_")
_ROOT = Path(__file__).parent.parent


class Child:
    """A running runner. Its lines are read by a thread; the latest progress and error are kept."""

    def __init__(self, folder: RunFolder) -> None:
        self.progress: Progress | None = None
        self.error: ErrorLine | None = None
        self._process = subprocess.Popen(  # noqa: S603 # an own module
            [sys.executable, "-m", "worker.runner", str(folder.path), str(os.getpid())],
            cwd=_ROOT,
            env=_environment(),
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
                self.error = said.error or self.error


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
