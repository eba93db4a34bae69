"""Output files of commands: checked before the work begins, and either complete or absent afterwards.

A command writes into a staging folder beside the target. After success, each file is moved to its name atomically, with
the permissions of the replaced file or of the umask. Links are followed; a device or a pipe receives the bytes.
"""

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from nern_core.contract.errors import NernError
from nern_core.contract.system_errors import system_errors

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# Errors that only writing raises.
_OF_WRITING = _FULL | {errno.EROFS, errno.EFBIG}
# Paths of files that are already open: `/dev/stdout`, `/dev/fd/3`.
_OPEN_FILES = ("/dev/", "/proc/")
STAGING_PREFIX = ".nern-"
# Size of the trial file; whether the disk has room for more cannot be known before the work.
_TRIED_BYTES = 4096


@contextmanager
def output_file(path: Path, *, inputs: Iterable[Path | None] = (), stream_suffix: str = "") -> Iterator[Path]:
    """Yield a staging path to write to; the file is moved to `path` when the context succeeds.

    `inputs` are the files and data folders that the command reads, and its other outputs. For a device or a pipe, the
    staging path ends in `stream_suffix`, which may select a format. Raises `NernError` (`no_folder`, `is_folder`,
    `cannot_write`, `disk_full`, `own_input`), at the start if possible.
    """
    target = _checked_target(path, inputs)
    if is_stream(path) or _only_file_is_writable(target):
        with TemporaryDirectory(prefix="nern-") as folder:
            staged = Path(folder) / f"{path.name}{stream_suffix if is_stream(path) else ''}"
            yield staged
            with _refusals_told(path):
                _copy_into(staged, path)
        return
    with _staging(path, target.parent) as (folder, mode):
        staged = folder / target.name
        yield staged
        with _refusals_told(path):
            _publish(staged, target, mode)


@contextmanager
def resumable_output(path: Path, *, inputs: Iterable[Path | None] = ()) -> Iterator[Path]:
    """Like `output_file`, but for a download, which keeps partial files and moves complete ones itself."""
    target = _checked_target(path, inputs)
    if is_stream(path) or _only_file_is_writable(target):
        with output_file(path) as staged:
            yield staged
        return
    with _staging(path, target.parent):
        pass
    with _refusals_told(path, among=_OF_WRITING, below=target.parent):
        yield target


@contextmanager
def output_folder(
    folder: Path, names: Sequence[str], *, inputs: Iterable[Path | None] = (), parents: bool = False
) -> Iterator[Path]:
    """Yield a staging folder; files in it with one of the `names` are moved to `folder` when the context succeeds.

    `folder` is created if missing, with `parents` also the folders above it. Names may be added to the list while the
    context is open. Inputs and errors: see `output_file`.
    """
    given = list(inputs)
    target = Path(os.path.realpath(folder))
    if target.exists() and not target.is_dir():
        raise NernError("cannot_write", f"'{folder}' is a file; choose a folder.")
    _check_targets(folder, names, given)
    if not parents and not target.parent.is_dir():
        raise NernError("no_folder", _no_folder(folder))
    existing = next(path for path in (target, *target.parents) if path.is_dir())
    with _staging(folder, existing) as (staging, mode):
        yield staging
        targets = _check_targets(folder, names, given)
        with _refusals_told(folder):
            target.mkdir(parents=True, exist_ok=True)
            for name, published in zip(names, targets, strict=True):
                if (staging / name).exists():
                    _publish(staging / name, published, mode)


def _check_targets(folder: Path, names: Sequence[str], inputs: Iterable[Path | None]) -> list[Path]:
    """Return the files of these names, with links resolved. Raises `NernError` if one cannot be written."""
    target = Path(os.path.realpath(folder))
    return [_checked_target(folder / name, inputs) if target.is_dir() else target / name for name in names]


def is_stream(path: Path) -> bool:
    """Return true if the path is a device, a pipe, or an already open file, which bytes can only be sent to."""
    if str(path.absolute()).startswith(_OPEN_FILES):
        return True
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


@contextmanager
def results_beside(output: Path | None) -> Iterator[None]:
    """Print results on standard error while the context is open, if the output is standard output."""
    if output is not None and is_stream(output) and _is_standard_output(output):
        with redirect_stdout(sys.stderr):
            yield
    else:
        yield


def _is_standard_output(path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def _checked_target(path: Path, inputs: Iterable[Path | None]) -> Path:
    """Check an output and return the file to write, with links resolved. Raises `NernError`."""
    if str(path) == "-":
        raise NernError("cannot_write", "'-' would be a file with that name; use /dev/stdout for standard output.")
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise NernError("is_folder", f"'{path}' is a folder; choose a file.")
    if not is_stream(path):
        _refuse_inputs(path, target, inputs)
    if not target.parent.is_dir():
        raise NernError("no_folder", _no_folder(path))
    if target.exists() and not os.access(target, os.W_OK):
        raise NernError("cannot_write", f"'{path}' cannot be written: {os.strerror(errno.EACCES)}.")
    return target


def _no_folder(output: Path) -> str:
    return f"There is no folder '{output.parent}' to write '{output.name}' into; create it, or choose another output."


def _refuse_inputs(path: Path, target: Path, inputs: Iterable[Path | None]) -> None:
    for given in inputs:
        if given is None:
            continue
        # A data set may be a folder of files.
        for file in given.iterdir() if given.is_dir() else [given]:
            if Path(os.path.realpath(file)) == target or (file.exists() and target.exists() and file.samefile(target)):
                what = "is" if str(path) == str(file) else f"is the same file as '{file}',"
                raise NernError(
                    "own_input", f"'{path}' {what} an input or another output of this command; choose another output."
                )


def _only_file_is_writable(target: Path) -> bool:
    return target.exists() and not os.access(target.parent, os.W_OK)


@contextmanager
def _staging(path: Path, parent: Path) -> Iterator[tuple[Path, int]]:
    """Create a staging folder on the same disk; yield it and the permissions of new files."""
    with _refusals_told(path):
        staging = TemporaryDirectory(prefix=STAGING_PREFIX, dir=parent)
    with staging as name:
        folder = Path(name)
        with _refusals_told(path):
            mode = _try_to_write(folder / "trial")
        with _refusals_told(path, among=_OF_WRITING, below=folder):
            yield folder, mode


def _try_to_write(trial: Path) -> int:
    """Write a small file and remove it; return the permissions of new files."""
    with trial.open("wb") as file:
        file.write(bytes(_TRIED_BYTES))
        file.flush()
        os.fsync(file.fileno())
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    trial.unlink()
    return mode


def _publish(staged: Path, target: Path, mode: int) -> None:
    staged.chmod(stat.S_IMODE(target.stat().st_mode) if target.exists() else mode)
    with staged.open("rb") as file:
        os.fsync(file.fileno())
    try:
        staged.replace(target)
    except OSError as error:
        # A file mounted into a container can be written but not replaced.
        if error.errno != errno.EBUSY:
            raise
        _copy_into(staged, target)


def _copy_into(staged: Path, path: Path) -> None:
    with staged.open("rb") as source, path.open("wb") as sink:
        shutil.copyfileobj(source, sink)


@contextmanager
def _refusals_told(path: Path, *, among: frozenset[int] | None = None, below: Path | None = None) -> Iterator[None]:
    """Turn errors of writing `path` into a `NernError` with one sentence.

    Only errors with a number in `among`, or about files below `below`, count; without both, all do.
    """
    try:
        yield
    except NernError:
        raise
    except Exception as error:
        found = next((one for one in system_errors(error) if _is_about(one, among, below)), None)
        if found is None:
            raise
        if found.errno in _FULL:
            raise NernError("disk_full", f"The disk is full: '{path}' was not written.") from error
        raise NernError("cannot_write", f"'{path}' cannot be written: {found.strerror}.") from error


def _is_about(error: OSError, among: frozenset[int] | None, below: Path | None) -> bool:
    if among is None or error.errno in among:
        return True
    return below is not None and isinstance(error.filename, str) and Path(error.filename).is_relative_to(below)
