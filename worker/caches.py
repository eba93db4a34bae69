"""Filled caches for the runners, created once by a process that reads no untrusted data.

numba compiles at first use, which takes ten seconds or more, and matplotlib looks for fonts; both need a writable
folder for their cache. Runners do not share one, because one runner could write code that another would execute. Each
runner gets a copy.
"""

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog

_log = structlog.get_logger()
_SECONDS_TO_FILL = 300
_SECONDS_BETWEEN_CHECKS = 0.1
_FILLER = (sys.executable, "-m", "nern_core.fill_caches")
_ROOT = Path(__file__).parent.parent
_LIBRARIES = ("numba", "llvmlite", "numpy", "matplotlib")
_VARIABLES = {"NUMBA_CACHE_DIR": "numba", "MPLCONFIGDIR": "matplotlib"}


class Caches:
    """The folder with the caches to copy."""

    def __init__(self, folder: Path | None = None, command: Sequence[str] = _FILLER) -> None:
        """Use `folder`, by default one in the user's cache, filled with this command, once for all."""
        self._folder = (folder or _user_cache() / "nern" / "runner").resolve()
        self._command = command
        self._filled = False

    def copy_to(self, target: Path, check: Callable[[], None]) -> None:
        """Copy the caches into a new folder; fill them before the first copy.

        If that fails, the folder is empty and the runner does the work itself. `check` is called while they are filled;
        its exception ends that, and is raised here.
        """
        if not self._filled:
            wanted = _state_of_code()
            is_filled = self._folder.is_dir() and _read(self._stamp) == wanted
            if not is_filled and self._fill(check):
                with suppress(OSError):
                    self._stamp.write_text(wanted)
            self._filled = True
        if self._folder.is_dir():
            shutil.copytree(self._folder, target, copy_function=_copy_if_there)
        else:
            target.mkdir()

    @property
    def _stamp(self) -> Path:
        """The file beside the folder with the state of the code that filled it."""
        return self._folder.with_name(f"{self._folder.name}.filled")

    def _fill(self, check: Callable[[], None]) -> bool:
        """Fill the folder; return False if that fails."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            process = subprocess.Popen(  # noqa: S603 # our own module
                self._command,
                cwd=_ROOT,
                env=os.environ | cache_variables(self._folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            _log.warning("caches_not_filled", error=repr(error))
            return False
        try:
            status = _wait(process, check)
        finally:
            process.kill()
            process.wait()
        if status != 0:
            _log.warning("caches_not_filled", status=status)
        return status == 0


def _wait(process: subprocess.Popen[bytes], check: Callable[[], None]) -> int | None:
    """Return the exit status; None if the process takes too long."""
    deadline = time.monotonic() + _SECONDS_TO_FILL
    while time.monotonic() < deadline:
        check()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_SECONDS_BETWEEN_CHECKS)
    return None


def _state_of_code() -> str:
    """Describe what the caches depend on: the machine, the libraries, and the modules to compile."""
    modules = sorted((_ROOT / "nern_core").rglob("*.py"))
    newest = max(module.stat().st_mtime_ns for module in modules)
    versions = [f"{name} {_version(name)}" for name in _LIBRARIES]
    code = f"{len(modules)} modules in {_ROOT}, the newest of {newest}"
    return "\n".join([sys.version, platform.node(), *versions, code])


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _copy_if_there(source: str, target: str) -> None:
    """Copy a file, unless another worker of this user, which fills the same caches, has just renamed it."""
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)


def cache_variables(folder: Path) -> dict[str, str]:
    """Return the environment variables that point libraries to their caches in a folder."""
    return {variable: str(folder / name) for variable, name in _VARIABLES.items()}


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
