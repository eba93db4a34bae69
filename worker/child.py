"""Start and stop a runner: a new interpreter in its own process group, without secrets."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from worker.caches import Caches, cache_variables
from worker.folder import RunFolder
from worker.runner_output import RunnerLines, RunnerLog

# Time to read what is left in the pipes of an ended runner.
_SECONDS_TO_READ = 5.0
# Environment variables that a computation may need. All others, such as passwords, are not passed on.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH")
_PASSED_ON_PREFIXES = ("CUDA_", "NVIDIA_", "OMP_", "MKL_")
_ROOT = Path(__file__).parent.parent


class Child(Protocol):
    """A started runner, as its supervisor sees it."""

    @property
    def lines(self) -> RunnerLines:
        """Its output so far."""

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""

    @property
    def is_running(self) -> bool:
        """True until the runner has ended."""

    def wait(self, seconds: float) -> int | None:
        """Wait up to `seconds`; return the exit status (negative: a signal), or None if it still runs."""

    def terminate(self) -> None:
        """Ask the runner to save a snapshot and exit."""

    def kill(self) -> None:
        """Kill the whole process group and wait until it is gone."""


class ChildStarter(Protocol):
    """The way in which a supervisor starts its children."""

    def prepare(self, folder: RunFolder, check: Callable[[], None]) -> None:
        """Add files that the child needs besides its input. Raises `OSError` for a fault of the disk.

        If that takes long, `check` is called meanwhile; its exception ends the work, and is raised here.
        """

    def start(self, folder: RunFolder) -> Child:
        """Start a child in a filled folder. Raises `OSError` if the machine allows no more processes or threads."""


class RunnerStarter:
    """Starts real runners, with filled caches."""

    def __init__(self, caches: Caches | None = None) -> None:
        self._caches = caches or Caches()

    def prepare(self, folder: RunFolder, check: Callable[[], None]) -> None:
        """Copy the caches of libraries."""
        self._caches.copy_to(folder.caches, check)

    def start(self, folder: RunFolder) -> Child:
        """Start a runner. Raises `OSError`."""
        return ChildProcess(folder, [sys.executable, "-m", "worker.runner"])


class ChildProcess:
    """A child in a process of its own; threads read its output.

    The command gets two more arguments: the folder, and the id of this process.
    """

    def __init__(self, folder: RunFolder, command: Sequence[str]) -> None:
        """Start the process. Raises `OSError` if the machine allows no more processes or threads."""
        self._process = subprocess.Popen(  # noqa: S603 # our own module
            [*command, str(folder.path), str(os.getpid())],
            cwd=_ROOT,
            env=runner_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # A pipe, so that the runner cannot fill or truncate a file of the supervisor.
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        output, errors = self._process.stdout, self._process.stderr
        assert output is not None
        assert errors is not None
        self.lines = RunnerLines(folder.job_id)
        log = RunnerLog(folder.job_id)
        self._readers = [
            threading.Thread(target=self.lines.read, args=(output,), name="runner lines", daemon=True),
            threading.Thread(target=log.read, args=(errors,), name="runner log", daemon=True),
        ]
        try:
            for reader in self._readers:
                reader.start()
        except RuntimeError as error:
            self._process.kill()
            self._process.wait()
            output.close()
            errors.close()
            raise OSError(errno.EAGAIN, str(error)) from error

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """True until the process has ended."""
        return self._process.poll() is None

    def wait(self, seconds: float) -> int | None:
        """Wait up to `seconds`; return the exit status (negative: a signal), or None if it still runs."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._join_readers()
        return status

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill the whole process group and wait until it is gone."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._join_readers()

    def _join_readers(self) -> None:
        for reader in self._readers:
            reader.join(_SECONDS_TO_READ)


def runner_environment(folder: RunFolder) -> dict[str, str]:
    """Return the environment of a runner: the variables that a computation needs, without secrets."""
    passed_on = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    # Libraries that write files use the run's folder, because the runner can write nowhere else.
    private = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(folder.home))
    return passed_on | private | cache_variables(folder.caches) | {"PYTHONDONTWRITEBYTECODE": "1"}
