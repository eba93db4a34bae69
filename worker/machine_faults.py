"""Tells faults of the machine, such as a full disk, from faults of a job."""

import errno
import os
import re
import tempfile
from pathlib import Path

# Errors of files that say something about the machine, and not about the job that met them.
_REASONS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EROFS: "disk_read_only",
    errno.EIO: "disk_error",
}
_BY_TEXT = {os.strerror(number): reason for number, reason in _REASONS.items()}
# Libraries in Rust end their messages like this.
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")
_LONGEST_CHAIN = 10
_PROBE_BYTES = 64 * 2**10


def machine_fault_in(error: BaseException) -> str | None:
    """Find what is wrong with the machine by an error, its causes or its message; None: nothing is."""
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if link is None:
            return None
        reason = _of_one(link)
        if reason is not None:
            return reason
        link = link.__cause__ or link.__context__
    return None


def fault_of_folder(folder: Path) -> str | None:
    """Find what is wrong with the disk of a folder, for errors that do not say: try to write there."""
    try:
        write_probe(folder)
    except OSError as error:
        return machine_fault_in(error)
    return None


def write_probe(folder: Path) -> None:
    """Write a small file, flush it to the disk and remove it. Raises `OSError`."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _of_one(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _REASONS:
        return _REASONS[error.errno]
    text = str(error)
    found = _RUST_ERROR.search(text)
    if found is not None:
        return _REASONS.get(int(found[1]))
    return next((reason for words, reason in _BY_TEXT.items() if words in text), None)
