"""Filled caches for the runners, made once by a process that reads nothing of a stranger's.

numba compiles at first use, which takes ten seconds and more, and matplotlib looks for fonts; both keep the result in
a folder that they must be able to write to. Runners share none: what one of them writes, another one would execute.
Each gets a copy.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import structlog

_log = structlog.get_logger()
_SECONDS_TO_FILL = 300
_ROOT = Path(__file__).parent.parent
_VARIABLES = {"NUMBA_CACHE_DIR": "numba", "MPLCONFIGDIR": "matplotlib"}


class Caches:
    """The folder that copies are made of."""

    def __init__(self, folder: Path | None = None) -> None:
        """In the user's cache, if no folder is given."""
        self._folder = (folder or _user_cache() / "nern" / "runner").resolve()
        self._filled = False

    def copy_to(self, target: Path) -> None:
        """Copy the caches into a new folder; fill them before the first time.

        Should that fail, the folder is empty and the runner does the work itself.
        """
        if not self._filled:
            self._fill()
            self._filled = True
        if self._folder.is_dir():
            shutil.copytree(self._folder, target)
        else:
            target.mkdir()

    def _fill(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(  # an own module
                [sys.executable, "-m", "nern_core.fill_caches"],
                cwd=_ROOT,
                env=os.environ | cache_variables(self._folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
                timeout=_SECONDS_TO_FILL,
            )
        except (OSError, subprocess.SubprocessError) as error:
            _log.warning("caches_not_filled", error=repr(error))


def cache_variables(folder: Path) -> dict[str, str]:
    """The environment variables that tell the libraries of their caches in a folder."""
    return {variable: str(folder / name) for variable, name in _VARIABLES.items()}


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
