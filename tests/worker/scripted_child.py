"""A child inside this process: it plays a script that prints lines, writes files and exits, in milliseconds."""

import json
import signal
import time
from collections.abc import Callable, Generator
from typing import Any

from worker.child import Child
from worker.folder import RunFolder
from worker.runner_output import RunnerLines

# Larger than any process id: /proc shows no memory, threads and files.
NO_PROCESS = 2**22 + 1
RESULTS = ("weights.safetensors", "weights.pt", "encoding.nern", "report.html")
METRICS: dict[str, Any] = {
    "source_bytes": 8,
    "file_bytes": 4,
    "predictor_bytes": 1,
    "permutation_bytes": 1,
    "kept_bytes": 1,
    "ratio": 2.0,
    "relative_error": 0.1,
    "original_accuracy": None,
    "reconstructed_accuracy": None,
    "seconds": {"total": 1.0},
}


class ScriptedChild:
    """Plays a script up to its next `yield` whenever the supervisor waits for its child."""

    def __init__(self, folder: RunFolder, script: "Script") -> None:
        self.folder = folder
        self.lines = RunnerLines(folder.job_id)
        self.pid = NO_PROCESS
        self.is_asked_to_stop = False
        self.status: int | None = None
        self._script = script(self)

    # As the supervisor sees it

    @property
    def is_running(self) -> bool:
        return self.status is None

    def wait(self, seconds: float) -> int | None:
        if self.status is None:
            try:
                next(self._script)
            except StopIteration as end:
                self.status = end.value or 0
            else:
                time.sleep(min(seconds, 0.001))
        return self.status

    def terminate(self) -> None:
        self.is_asked_to_stop = True

    def kill(self) -> None:
        if self.status is None:
            self._script.close()
            self.status = -signal.SIGKILL

    # As its script sees it

    def say(self, **line: Any) -> None:
        self.lines.take(json.dumps(line).encode())

    def save_snapshot(self, name: str, content: bytes) -> None:
        """Write a snapshot and announce it."""
        (self.folder.snapshots / name).write_bytes(content)
        self.say(snapshot=name)

    def leave_results(self, **changes: Any) -> None:
        """Write the results of an encoding, with changes in the metrics."""
        for name in RESULTS:
            self.folder.result(name).write_bytes(name.encode())
        self.folder.report.write_text(json.dumps({"metrics": METRICS | changes}))


Script = Callable[[ScriptedChild], Generator[None, None, int | None]]


class ScriptedStarter:
    """Starts scripted children, and lists them."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.started: list[ScriptedChild] = []

    def prepare(self, folder: RunFolder, check: Callable[[], None]) -> None:
        """Add nothing."""

    def start(self, folder: RunFolder) -> Child:
        child = ScriptedChild(folder, self._script)
        self.started.append(child)
        return child


def succeed(child: ScriptedChild) -> Generator[None, None, None]:
    """Report progress and leave results."""
    child.say(progress={"phase": "reading"})
    yield
    child.leave_results()


def run_on(child: ScriptedChild) -> Generator[None, None, None]:
    """Train forever."""
    child.say(progress={"phase": "reconstruction", "fraction": 0.5, "step": 3})
    while True:
        yield


def fail(code: str, message: str = ".", status: int = 1) -> Script:
    """Return a script that prints an error and exits with a status."""

    def script(child: ScriptedChild) -> Generator[None, None, int]:
        child.say(error={"code": code, "message": message})
        yield
        return status

    return script


def print_lines(*lines: bytes) -> Script:
    """Return a script that prints any bytes and leaves results."""

    def script(child: ScriptedChild) -> Generator[None, None, None]:
        for line in lines:
            child.lines.take(line)
        yield
        child.leave_results()

    return script


def end_with(status: int) -> Script:
    """Return a script that reports progress and ends with a status; a negative one is a signal."""

    def script(child: ScriptedChild) -> Generator[None, None, int]:
        child.say(progress={"phase": "starting"})
        yield
        return status

    return script
