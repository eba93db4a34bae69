"""Distinguish faults of the machine, such as a full disk, from faults of a job."""

import errno
import os
import tempfile
from pathlib import Path

from nern_core.contract.system_errors import system_errors

# File errors caused by the machine, not by the job.
_REASONS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EROFS: "disk_read_only",
    errno.EIO: "disk_error",
}
_PROBE_BYTES = 64 * 2**10


def machine_fault_in(error: BaseException) -> str | None:
    """Return the machine fault behind an error, from its causes or its message; None if there is no such fault."""
    return next((_REASONS[found.errno] for found in system_errors(error) if found.errno in _REASONS), None)


def fault_of_folder(folder: Path) -> str | None:
    """Return the fault of a folder's disk, found by trying to write there, for errors that do not name it."""
    try:
        write_probe(folder)
    except OSError as error:
        return machine_fault_in(error)
    return None


def write_probe(folder: Path) -> None:
    """Write a small file, sync it to the disk and remove it. Raises `OSError`."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
