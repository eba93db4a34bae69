"""Children in processes of their own that run a small program without torch, for tests of signals and resources."""

import sys
from collections.abc import Callable

from worker.child import Child, ChildProcess
from worker.folder import RunFolder

_HEAD = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
results = folder / "results"

def say(**line):
    print(json.dumps(line), flush=True)
"""


def command(program: str) -> list[str]:
    """Return a command that runs a program, without the imports of installed packages."""
    return [sys.executable, "-I", "-S", "-c", _HEAD + program]


class ProgramStarter:
    """Starts processes that run one program; `folder`, `results` and `say` are defined for it."""

    def __init__(self, program: str) -> None:
        self._command = command(program)

    def prepare(self, folder: RunFolder, check: Callable[[], None]) -> None:
        """Add nothing."""

    def start(self, folder: RunFolder) -> Child:
        return ChildProcess(folder, self._command)
