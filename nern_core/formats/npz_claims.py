"""Sizes that an `.npz` file claims, checked before numpy allocates them."""

import math
import zipfile
from collections.abc import Mapping
from typing import IO, Final

import numpy as np

from nern_core.formats.tensor_claims import LARGEST_SIZE, is_shape

# Bytes that one compressed byte can become; those of other methods, which numpy does not write, become less than this.
_LARGEST_EXPANSIONS: Final[Mapping[int, int]] = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
_LARGEST_EXPANSION: Final = 2**16
# numpy refuses longer headers, but only after it has read them.
_LONGEST_HEADER: Final = 10_000


def check_claim(archive: zipfile.ZipFile, name: str) -> None:
    """Raise `ValueError` if an array claims another size than its member has, or can have."""
    members = [info for info in archive.infolist() if info.filename in {name, f"{name}.npy"}]
    if not members:
        raise ValueError(f"it has no array `{name}`")
    # numpy would read another one than was checked.
    if len(members) > 1:
        raise ValueError(f"it has {len(members)} arrays `{name}`")
    (member,) = members
    with archive.open(member) as file:
        shape, dtype = _read_header(file, name)
        held = member.file_size - file.tell()
    claimed = math.prod(shape) * dtype.itemsize
    # Objects are pickled, and numpy refuses to load those.
    if claimed != held and not dtype.hasobject:
        raise ValueError(f"`{name}` claims {claimed:,} bytes and has {held:,}")
    possible = member.compress_size * _LARGEST_EXPANSIONS.get(member.compress_type, _LARGEST_EXPANSION)
    if member.file_size > possible:
        raise ValueError(f"`{name}` claims {claimed:,} bytes, but its member can have at most {possible:,}")


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and the dtype of an array. Raises `ValueError`."""
    version = np.lib.format.read_magic(file)
    start, length_bytes = file.tell(), 2 if version == (1, 0) else 4
    if int.from_bytes(file.read(length_bytes), "little") > _LONGEST_HEADER:
        raise ValueError(f"the header of `{name}` is longer than {_LONGEST_HEADER:,} bytes")
    file.seek(start)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, _, dtype = read_header(file)
    # Python's parser raises these for many brackets or signs within each other; the header is short.
    except (MemoryError, RecursionError) as error:
        raise ValueError(f"the header of `{name}` nests too deeply") from error
    if not is_shape(shape, LARGEST_SIZE):
        raise ValueError(f"`{name}` claims an impossible shape")
    return shape, dtype
