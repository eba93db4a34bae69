"""Snapshots of `nern encode`, in a folder beside its output, until the output is written."""

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
from nern_core.digest import file_sha256
from nern_core.errors import NernError
from nern_core.options import EncodeOptions

if TYPE_CHECKING:
    from nern_core.snapshots import Snapshots

_REQUEST = "request.json"
_STAGES = "stage-*"
# To the end of a step and for the snapshot; service managers kill after 90 s, container runtimes after 10 s.
_SECONDS_TO_STOP = 8.0


@contextmanager
def snapshots_beside(
    output: Path, checkpoint: Path, options: EncodeOptions, teacher: Path | None, *, resume: bool
) -> Iterator["Snapshots"]:
    """Save the training beside `output` while the context is open, and once more at a signal, which raises `Stopped`.

    The snapshots are removed when the context ends well, or with a `NernError`, which the next attempt would have too.
    `resume` continues from those that a stopped command has left. Raises `NernError` (`other_snapshots`) if they are
    of another request.
    """
    from nern_core.snapshots import Interrupted, Snapshots

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
            # Such as a full disk.
            _keep(folder)
            raise
    _remove(folder)


def _folder_beside(output: Path) -> Path | None:
    """Return the folder for snapshots; None where the output is no file, or stands where nothing can be added."""
    target = Path(os.path.realpath(output))
    if is_stream(output) or not os.access(target.parent, os.W_OK):
        return None
    return target.with_name(f"{target.name}.snapshots")


def _request(checkpoint: Path, options: EncodeOptions, teacher: Path | None) -> str:
    """Describe the encoding, so that only the same one is resumed."""
    request = {
        "nern": version("nern"),
        "torch": version("torch"),
        "checkpoint": file_sha256(checkpoint),
        "teacher": None if teacher is None else file_sha256(teacher),
        "options": options.model_dump(mode="json"),
    }
    return json.dumps(request) + "\n"


def _prepare(folder: Path, request: str, *, resume: bool) -> None:
    """Make the folder, with the snapshots to resume from or without any."""
    found = folder / _REQUEST
    if resume and _has_snapshots(folder):
        if found.read_text(encoding="utf-8") != request:
            raise NernError(
                "other_snapshots",
                f"The snapshots in '{folder}' are of another checkpoint, other options or another version: give the "
                "same ones, or leave out --resume.",
            )
        return
    if resume:
        print_note(f"nern: There are no snapshots in '{folder}'; this begins anew.")
    elif _has_snapshots(folder):
        print_note(f"nern: The snapshots in '{folder}' are replaced; --resume would have used them.")
    _remove(folder)
    if folder.exists():
        raise NernError("cannot_write", f"'{folder}' holds other files than snapshots; name another output.")
    folder.mkdir()
    found.write_text(request, encoding="utf-8")


def _has_snapshots(folder: Path) -> bool:
    return (folder / _REQUEST).is_file() and any(folder.glob(_STAGES))


def _keep(folder: Path | None) -> None:
    """Keep the snapshots for --resume, if there are any, and say so."""
    if folder is not None and _has_snapshots(folder):
        print_note(f"nern: The training so far is saved in '{folder}'; the same command with --resume continues it.")
    else:
        _remove(folder)


def _remove(folder: Path | None) -> None:
    if folder is not None and (folder / _REQUEST).is_file():
        shutil.rmtree(folder)


def _say_stopping() -> None:
    print_note("nern: Stopping at the end of this step; once more stops at once.")
