"""Write safetensors files that others can read as any file of the user."""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import safetensors.torch
from torch import Tensor


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a file with the permissions of the replaced one, or those of the umask.

    The library itself gives it to its owner alone. So it stays where the process may not change permissions.
    """
    is_new = not path.exists()
    with path.open("ab") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    try:
        safetensors.torch.save_file(dict(tensors), path, None if metadata is None else dict(metadata))
    except BaseException:
        if is_new:
            path.unlink(missing_ok=True)
        raise
    # The sandbox of a service's runner forbids it; there, nobody but the service reads the file.
    with suppress(PermissionError):
        path.chmod(mode)
