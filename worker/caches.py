"""Filled caches for the runners, created once by a process that reads no untrusted data.

numba compiles at first use, which takes ten seconds or more, and matplotlib looks for fonts; both need a writable
folder for their cache. Runners do not share one, because one runner could write code that another would execute. Each
runner gets a copy.
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
    """The folder with the caches to copy."""

    def __init__(self, folder: Path | None = None) -> None:
        """Use `folder`; by default one in the user's cache."""
        self._folder = (folder or _user_cache() / "nern" / "runner").resolve()
        self._filled = False

    def copy_to(self, target: Path) -> None:
        """Copy the caches into a new folder; fill them before the first copy.

        If that fails, the folder is empty and the runner does the work itself.
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
            subprocess.run(  # our own module
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
    """Return the environment variables that point libraries to their caches in a folder."""
    return {variable: str(folder / name) for variable, name in _VARIABLES.items()}


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
