"""Starts and stops a runner: a new interpreter, in a process group of its own, without secrets."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

from worker.caches import cache_variables
from worker.folder import RunFolder
from worker.runner_output import RunnerLines, RunnerLog

# For what a runner that has ended still has in its pipes.
_SECONDS_TO_READ = 5.0
# What a computation may need of its environment. Everything else, passwords first, stays here.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH")
_PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_", "OMP_", "MKL_")
_ROOT = Path(__file__).parent.parent


class Child:
    """A running runner, whose output is read by threads."""

    def __init__(self, folder: RunFolder) -> None:
        """Start it. Raises `OSError` where the machine allows no process or thread more."""
        self._process = subprocess.Popen(  # noqa: S603 # an own module
            [sys.executable, "-m", "worker.runner", str(folder.path), str(os.getpid())],
            cwd=_ROOT,
            env=runner_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # A pipe, so that the runner has no file of ours to fill or truncate.
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        output, errors = self._process.stdout, self._process.stderr
        assert output is not None
        assert errors is not None
        try:
            self.lines = RunnerLines(output, folder.job_id)
            self._log = RunnerLog(errors, folder.job_id)
        except RuntimeError as error:
            self._process.kill()
            self._process.wait()
            output.close()
            errors.close()
            raise OSError(errno.EAGAIN, str(error)) from error

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
        self._join_readers()
        return status

    def terminate(self) -> None:
        """Ask the runner to save where it is and to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End the whole process group, and wait until it is gone."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._join_readers()

    def _join_readers(self) -> None:
        self.lines.join(_SECONDS_TO_READ)
        self._log.join(_SECONDS_TO_READ)


def runner_environment(folder: RunFolder) -> dict[str, str]:
    """The environment of a runner: what a computation needs of this one, and nothing secret."""
    passed_on = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    # Whatever wants to keep something finds the run's folder: the runner can write nowhere else.
    private = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(folder.home))
    return passed_on | private | cache_variables(folder.caches) | {"PYTHONDONTWRITEBYTECODE": "1"}
