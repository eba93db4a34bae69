"""Remove the folder of an attempt, whatever its content.

A hostile runner may nest folders too deep for a path or for recursion, or remove the permission to read them.
"""

import os
import shutil
from itertools import count
from pathlib import Path

import structlog

_log = structlog.get_logger()
_RIGHTS = 0o700


def remove_tree(root: Path) -> None:
    """Remove a folder with its content. A file that cannot be removed stays and is logged."""
    try:
        if root.is_dir():
            _flatten(root)
            shutil.rmtree(root)
    except OSError as error:
        _log.warning("scratch_not_removed", folder=str(root), error=repr(error))


def _flatten(root: Path) -> None:
    """Move every folder directly below the root, so that no path has more than three names, and empty it."""
    names = count()
    waiting = [entry.path for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
    while waiting:
        folder = waiting.pop()
        os.chmod(folder, _RIGHTS)  # noqa: PTH101 # not a link: it was a folder, and the runner has ended
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, _RIGHTS)  # noqa: PTH101 # a folder without rights cannot be moved
                moved = root / f"moved-{next(names)}"
                while moved.exists():
                    moved = root / f"moved-{next(names)}"
                Path(entry.path).rename(moved)
                waiting.append(os.fspath(moved))
            else:
                Path(entry.path).unlink()
        Path(folder).rmdir()
