"""Observe from outside when each process encodes an attempt at a job."""

import json
import re
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

_ATTEMPT = re.compile(r"(job_[0-9a-f]{32})-(\d+)")
_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass
class Run:
    """A runner, from when it was first seen until it had ended."""

    pid: int
    job_id: str
    attempt: int
    started: float
    stopped: float | None = None


class Witness:
    """A thread that reads the command lines of all processes, because those of runners name their folder."""

    def __init__(self, scratch: Path, log: Path) -> None:
        self.runs: list[Run] = []
        self._scratch = str(scratch)
        self._log = log
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="witness", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and record the observations."""
        self._stopping.set()
        self._thread.join()
        self._log.write_text("".join(json.dumps(asdict(run)) + "\n" for run in self.runs))

    def living(self, job_id: str | None = None) -> list[Run]:
        """Return the running runners, all or those of one job."""
        return [run for run in list(self.runs) if run.stopped is None and job_id in {None, run.job_id}]

    def longest_overlap(self) -> float:
        """Return the longest time in seconds that two attempts at the same job overlapped (I3)."""
        now = time.monotonic()
        overlaps = [
            min(one.stopped or now, other.stopped or now) - max(one.started, other.started)
            for one, other in combinations(list(self.runs), 2)
            if one.job_id == other.job_id and one.attempt != other.attempt
        ]
        return max(overlaps, default=0.0)

    def _watch(self) -> None:
        while not self._stopping.wait(_SECONDS_BETWEEN_LOOKS):
            found = self._look()
            now = time.monotonic()
            known = {run.pid: run for run in self.living()}
            for pid, run in known.items():
                if pid not in found:
                    run.stopped = now
            self.runs += [Run(pid, *found[pid], now) for pid in found.keys() - known.keys()]

    def _look(self) -> dict[int, tuple[str, int]]:
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                # The process may end meanwhile; the command line of a zombie is empty.
                with suppress(OSError):
                    line = (folder / "cmdline").read_bytes().decode(errors="replace")
                    match = _ATTEMPT.search(line) if self._scratch in line else None
                    if match:
                        found[int(folder.name)] = (match[1], int(match[2]))
        return found
