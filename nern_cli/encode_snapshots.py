"""Snapshots of `nern encode`, kept in a folder beside its output until the output is in place."""

import fcntl
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nern_cli.output_files import STAGING_PREFIX, is_stream
from nern_cli.signals import Stopped, stop_request
from nern_cli.terminal_text import print_note
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.tensors.digest import digest_checkpoint, file_sha256

if TYPE_CHECKING:
    from nern_core.training.snapshots import Snapshots

_REQUEST = "request.json"
_STAGES = "stage-*"
# Names of files that a training writes.
_OURS = re.compile(r"request\.json|stage-\d+(\.writing)?")
# Time to finish a step and write the snapshot. Service managers kill after 90 s, container runtimes after 10 s.
_SECONDS_TO_STOP = 8.0


class EncodeSnapshots(AbstractContextManager["EncodeSnapshots"]):
    """The snapshots of one command, in a folder beside its output.

    Open this context around the one that puts the output in place: only if that succeeds, the snapshots are removed.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._folder = _folder_beside(output)
        self._lock: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the snapshots, or keep them for --resume if the output was not written."""
        if self._lock is None:
            return
        try:
            if error is None:
                self._remove()
            else:
                self._keep()
        finally:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def during_training(
        self, checkpoint: Path, options: EncodeOptions, teacher: Path | None, *, resume: bool
    ) -> Iterator["Snapshots"]:
        """Save snapshots while the context is open, and a last one at a stop signal, which then raises `Stopped`.

        The snapshots are removed when the context fails with a `NernError`, because the next attempt would fail too.
        `resume` resumes from the snapshots of a stopped command; without it they are replaced. Raises `NernError`: the
        snapshots belong to another request (`other_snapshots`), or another command uses them (`cannot_write`).
        """
        from nern_core.training.snapshots import Interrupted, Snapshots

        if self._folder is not None:
            self._prepare(self._folder, _request(checkpoint, options, teacher), resume=resume)
        with stop_request(_SECONDS_TO_STOP, _say_stopping) as stop:
            try:
                yield Snapshots(self._folder, interrupted=lambda: stop() is not None)
            except Interrupted:
                raise Stopped(stop() or signal.SIGTERM) from None
            except NernError:
                self._remove()
                raise

    def _prepare(self, folder: Path, request: str, *, resume: bool) -> None:
        """Create a folder with the request alone, or keep the snapshots to resume from; lock the folder."""
        lock = self._locked(folder)
        try:
            has_snapshots = lock is not None and _has_snapshots(folder)
            if has_snapshots and (folder / _REQUEST).read_text(encoding="utf-8") != request:
                raise NernError(
                    "other_snapshots",
                    f"The snapshots in '{folder}' belong to another checkpoint, other options or another version: "
                    "finish that command with --resume, remove the folder to discard them, or choose another output.",
                )
            if resume and has_snapshots:
                self._lock, lock = lock, None
                return
            if resume:
                print_note(f"nern: There are no snapshots in '{folder}'; starting from scratch.")
            elif has_snapshots:
                print_note(f"nern: Replacing the snapshots in '{folder}'; --resume would have used them.")
            if lock is not None:
                _refuse_foreign(folder)
                _remove_at_once(folder)
            self._lock = self._create(folder, request)
        finally:
            if lock is not None:
                os.close(lock)

    def _locked(self, folder: Path) -> int | None:
        """Open and lock the folder; None if there is none. Raises `NernError` if another command uses it."""
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise _foreign(folder) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise self._in_use() from None
        except OSError:
            # This file system has no locks.
            pass
        if not folder.exists() or not os.path.samestat(folder.stat(), os.fstat(descriptor)):
            # The other command has just ended.
            os.close(descriptor)
            return None
        return descriptor

    def _create(self, folder: Path, request: str) -> int | None:
        """Create the folder with the request in it, in one step, and lock it."""
        with TemporaryDirectory(prefix=STAGING_PREFIX, dir=folder.parent) as staging:
            made = Path(staging) / folder.name
            made.mkdir()
            (made / _REQUEST).write_text(request, encoding="utf-8")
            lock = self._locked(made)
            try:
                made.rename(folder)
            except OSError:
                if lock is not None:
                    os.close(lock)
                if folder.is_dir():
                    raise self._in_use() from None
                raise
        return lock

    def _in_use(self) -> NernError:
        return NernError(
            "cannot_write", f"Another command is writing '{self._output}'; wait for it, or choose another output."
        )

    def _keep(self) -> None:
        """Keep the snapshots for --resume, if there are any, and print a note."""
        if self._folder is not None and _has_snapshots(self._folder):
            print_note(
                f"nern: The training so far is saved in '{self._folder}'; the same command with --resume resumes it."
            )
        else:
            self._remove()

    def _remove(self) -> None:
        if self._folder is not None and (self._folder / _REQUEST).is_file():
            _remove_at_once(self._folder)


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
        "checkpoint": digest_checkpoint(checkpoint).sha256,
        "teacher": None if teacher is None else file_sha256(teacher),
        "options": options.model_dump(mode="json"),
    }
    return json.dumps(request) + "\n"


def _has_snapshots(folder: Path) -> bool:
    return (folder / _REQUEST).is_file() and any(folder.glob(_STAGES))


def _refuse_foreign(folder: Path) -> None:
    """Raise `NernError` if the folder has files that are not of a training."""
    if not all(_OURS.fullmatch(path.name) for path in folder.iterdir()):
        raise _foreign(folder)


def _foreign(folder: Path) -> NernError:
    return NernError("cannot_write", f"'{folder}' contains files that are not snapshots; choose another output.")


def _remove_at_once(folder: Path) -> None:
    """Remove the folder; whoever is stopped meanwhile leaves none with this name, rather than a part."""
    try:
        with TemporaryDirectory(prefix=STAGING_PREFIX, dir=folder.parent) as staging:
            folder.rename(Path(staging) / folder.name)
    except OSError:
        # A full disk has no place for another folder.
        shutil.rmtree(folder)


def _say_stopping() -> None:
    print_note("nern: Stopping at the end of this step; a second signal stops immediately.")
