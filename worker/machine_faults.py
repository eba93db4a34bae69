"""Tells faults of the machine, such as a full disk, from faults of a job."""

import errno
import os
import tempfile
from pathlib import Path

from nern_core.system_errors import system_errors

# Errors of files that say something about the machine, and not about the job that met them.
_REASONS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EROFS: "disk_read_only",
    errno.EIO: "disk_error",
}
_PROBE_BYTES = 64 * 2**10


def machine_fault_in(error: BaseException) -> str | None:
    """Find what is wrong with the machine by an error, its causes or its message; None: nothing is."""
    return next((_REASONS[found.errno] for found in system_errors(error) if found.errno in _REASONS), None)


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
