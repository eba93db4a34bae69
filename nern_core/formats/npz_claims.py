"""Sizes that an `.npz` file claims, checked before numpy allocates them."""

import math
import zipfile
from collections.abc import Mapping
from typing import Final

import numpy as np

# Bytes that one compressed byte can become; those of other methods, which numpy does not write, become less than this.
_LARGEST_EXPANSIONS: Final[Mapping[int, int]] = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
_LARGEST_EXPANSION: Final = 2**16


def check_claim(archive: zipfile.ZipFile, name: str) -> None:
    """Raise `ValueError` if an array claims another size than its member has, or can have."""
    member = next((info for info in archive.infolist() if info.filename in {name, f"{name}.npy"}), None)
    if member is None:
        raise ValueError(f"it has no array `{name}`")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        held = member.file_size - file.tell()
    claimed = math.prod(shape) * dtype.itemsize
    # Objects are pickled, and numpy refuses to load those.
    if claimed != held and not dtype.hasobject:
        raise ValueError(f"`{name}` claims {claimed:,} bytes and has {held:,}")
    possible = member.compress_size * _LARGEST_EXPANSIONS.get(member.compress_type, _LARGEST_EXPANSION)
    if member.file_size > possible:
        raise ValueError(f"`{name}` claims {claimed:,} bytes, but its member can have at most {possible:,}")
