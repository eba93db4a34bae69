"""Output of a runner, read by threads: protocol lines on one pipe, text for the log on the other.

Both are bounded, because the output is untrusted: it must neither block the supervisor nor fill a disk.
"""

import os
import time
from select import select
from typing import IO

import structlog
from pydantic import ValidationError

from nern_core.contract.progress import Phase, Progress
from worker.protocol import ErrorLine, RunnerLine, printable

_log = structlog.get_logger()
_LONGEST_LINE = 64 * 2**10
# A normal runner prints some lines a second. One that prints more is read at this rate and has to wait.
_LINES_PER_SECOND = 200
_SECONDS_BETWEEN_LINES = 1 / _LINES_PER_SECOND
# Most phases kept; a search for a size repeats some phases.
_MOST_PHASES = 1000
_MOST_WARNINGS = 10
# Most characters of text in the log: per entry, and per attempt at a job.
_LONGEST_ENTRY = 8 * 2**10
_LONGEST_LOG = 256 * 2**10
# Text printed within this time becomes one entry, such as the lines of a traceback.
_SECONDS_TO_COLLECT = 0.1


class RunnerLines:
    """The lines of a runner: the latest progress and error, and new snapshots."""

    def __init__(self, job_id: str) -> None:
        self.progress: Progress | None = None
        self.error: ErrorLine | None = None
        # Time of the first report of each phase.
        self.phases: list[tuple[Phase, float]] = []
        self.count = 0
        self._job_id = job_id
        self._snapshots: set[str] = set()
        self._invalid = 0

    @property
    def has_read(self) -> bool:
        """True if the runner has begun to read the file of its job."""
        return any(phase is not Phase.STARTING for phase, _ in self.phases)

    def new_snapshots(self) -> set[str]:
        """Return the names of the snapshots written since the last call."""
        # Replaced in one step because the thread adds to it.
        found, self._snapshots = self._snapshots, set()
        return found

    def read(self, output: IO[bytes]) -> None:
        """Read lines, at a limited rate, until the runner closes the pipe."""
        next_line = time.monotonic()
        with output:
            while line := output.readline(_LONGEST_LINE):
                self.take(line)
                # After a pause, the runner may print the lines of one second at once.
                next_line = max(next_line + _SECONDS_BETWEEN_LINES, time.monotonic() - 1)
                time.sleep(max(0.0, next_line - time.monotonic()))
        if self._invalid > _MOST_WARNINGS:
            _log.warning("runner_lines_dropped", job=self._job_id, count=self._invalid)

    def take(self, line: bytes) -> None:
        """Check a line and note its content; drop an invalid one."""
        self.count += 1
        try:
            said = RunnerLine.model_validate_json(line)
        except ValidationError:
            self._invalid += 1
            if self._invalid <= _MOST_WARNINGS:
                _log.warning("runner_line_dropped", job=self._job_id, line=repr(line[:200]))
            return
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


class RunnerLog:
    """Copies the standard error of a runner into the log, up to a limit. The rest is read and dropped."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._written = self._dropped = 0

    def read(self, output: IO[bytes]) -> None:
        """Copy text into the log until the runner closes the pipe."""
        with output:
            pipe = output.fileno()
            while data := os.read(pipe, _LONGEST_ENTRY):
                if self._written >= _LONGEST_LOG:
                    self._dropped += len(data)
                    continue
                time.sleep(_SECONDS_TO_COLLECT)
                if select([pipe], [], [], 0)[0]:
                    data += os.read(pipe, _LONGEST_ENTRY)
                self._write(data)
        if self._dropped:
            _log.warning("runner_output_dropped", job=self._job_id, bytes=self._dropped)

    def _write(self, data: bytes) -> None:
        text = data.decode(errors="replace").rstrip()
        self._written += len(data)
        if text:
            _log.warning("runner_output", job=self._job_id, text="\n".join(map(printable, text.split("\n"))))
