"""Snapshots of `nern encode`, kept in a folder beside its output until the output is written."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from nern_cli.output_files import is_stream
from nern_cli.signals import Stopped, stop_request
from nern_cli.terminal_text import print_note
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.tensors.digest import file_sha256

if TYPE_CHECKING:
    from nern_core.training.snapshots import Snapshots

_REQUEST = "request.json"
_STAGES = "stage-*"
# Time to finish a step and write the snapshot. Service managers kill after 90 s, container runtimes after 10 s.
_SECONDS_TO_STOP = 8.0


@contextmanager
def snapshots_beside(
    output: Path, checkpoint: Path, options: EncodeOptions, teacher: Path | None, *, resume: bool
) -> Iterator["Snapshots"]:
    """Save snapshots of the training beside `output` while the context is open, and a last one at a stop signal.

    The signal then raises `Stopped`. The snapshots are removed when the context succeeds, or fails with a `NernError`,
    because the next attempt would fail too. `resume` resumes from the snapshots of a stopped command; without it they
    are replaced. Raises `NernError` (`other_snapshots`) if they belong to another request.
    """
    from nern_core.training.snapshots import Interrupted, Snapshots

    folder = _folder_beside(output)
    if folder is not None:
        _prepare(folder, _request(checkpoint, options, teacher), resume=resume)
    with stop_request(_SECONDS_TO_STOP, _say_stopping) as stop:
        try:
            yield Snapshots(folder, interrupted=lambda: stop() is not None)
        except Stopped:
            _keep(folder)
            raise
        except Interrupted:
            _keep(folder)
            raise Stopped(stop() or signal.SIGTERM) from None
        except NernError:
            _remove(folder)
            raise
        except Exception:
            # For example a full disk.
            _keep(folder)
            raise
    _remove(folder)


def _folder_beside(output: Path) -> Path | None:
    """Return the folder for snapshots; None if the output is a stream or its folder is not writable."""
    target = Path(os.path.realpath(output))
    if is_stream(output) or not os.access(target.parent, os.W_OK):
        return None
    return target.with_name(f"{target.name}.snapshots")


def _request(checkpoint: Path, options: EncodeOptions, teacher: Path | None) -> str:
    """Describe the request, so that only the same one is resumed."""
    request = {
        "nern": version("nern"),
        "torch": version("torch"),
        "checkpoint": file_sha256(checkpoint),
        "teacher": None if teacher is None else file_sha256(teacher),
        "options": options.model_dump(mode="json"),
    }
    return json.dumps(request) + "\n"


def _prepare(folder: Path, request: str, *, resume: bool) -> None:
    """Create an empty folder, or keep the snapshots to resume from."""
    found = folder / _REQUEST
    has_snapshots = _has_snapshots(folder)
    if has_snapshots and found.read_text(encoding="utf-8") != request:
        raise NernError(
            "other_snapshots",
            f"The snapshots in '{folder}' belong to another checkpoint, other options or another version: finish that "
            "command with --resume, remove the folder to discard them, or choose another output.",
        )
    if resume and has_snapshots:
        return
    if resume:
        print_note(f"nern: There are no snapshots in '{folder}'; starting from scratch.")
    elif has_snapshots:
        print_note(f"nern: Replacing the snapshots in '{folder}'; --resume would have used them.")
    _remove(folder)
    if folder.exists():
        raise NernError("cannot_write", f"'{folder}' contains files that are not snapshots; choose another output.")
    folder.mkdir()
    found.write_text(request, encoding="utf-8")


def _has_snapshots(folder: Path) -> bool:
    return (folder / _REQUEST).is_file() and any(folder.glob(_STAGES))


def _keep(folder: Path | None) -> None:
    """Keep the snapshots for --resume, if there are any, and print a note."""
    if folder is not None and _has_snapshots(folder):
        print_note(f"nern: The training so far is saved in '{folder}'; the same command with --resume resumes it.")
    else:
        _remove(folder)


def _remove(folder: Path | None) -> None:
    if folder is not None and (folder / _REQUEST).is_file():
        shutil.rmtree(folder)


def _say_stopping() -> None:
    print_note("nern: Stopping at the end of this step; a second signal stops immediately.")
