"""The one file beside an ONNX file that may hold its values. Torch-free."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from nern_core.contract.errors import quoted
from nern_core.formats.onnx_files.problems import unsupported

_LONGEST_NAME: Final = 255
# Uploaded files have no suffix, and nothing beside them.
_SUFFIX: Final = ".onnx"
_ONE_FILE = "save it as one file with onnx.save, without external data, and use that"


def folder_of_values(path: Path) -> Path | None:
    """Return the folder that may hold the values of an ONNX file."""
    return path.parent if path.suffix == _SUFFIX else None


@contextmanager
def open_external(folder: Path | None, location: str) -> Iterator[tuple[BinaryIO, int]]:
    """Open the file and return it with its size; it must be a plain name in the folder of the ONNX file.

    Raises `NernError` (`unsupported_format`), also without a folder.
    """
    if folder is None:
        raise unsupported("keeps its values in another file", _ONE_FILE)
    name = location.removeprefix("./")
    if (
        not 0 < len(name) <= _LONGEST_NAME
        or name in {".", ".."}
        or not name.isprintable()
        or any(separator in name for separator in "/\\")
    ):
        raise unsupported(f"keeps its values at {quoted(location)}, which is no file beside it", _ONE_FILE)
    try:
        # Without following links, which could lead to any file.
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise unsupported(
            f"keeps its values in a file {quoted(name)} that cannot be opened beside it", "copy that file there, too"
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise unsupported(f"keeps its values in {quoted(name)}, which is no regular file", _ONE_FILE)
        yield file, status.st_size
