"""The checksum of a `.nern` file: the SHA-256 of all its bytes, with zeros in place of the checksum.

It detects damage. It is not a signature: anyone who changes a file on purpose can recompute it.
"""

import hashlib
import re
from pathlib import Path
from typing import BinaryIO, Final

CHECKSUM: Final = "checksum"
UNSEALED: Final = "0" * 64
# The document is JSON within JSON, so its quotes are escaped.
_PLACE = re.compile(rb'\\"' + CHECKSUM.encode() + rb'\\":\\"([0-9a-f]{64})\\"')
_LENGTH_BYTES = 8
_COPY_BYTES = 2**20


def seal(path: Path) -> None:
    """Write the checksum into its place; the file must have one."""
    with path.open("r+b") as file:
        header = _header(file)
        place = _PLACE.search(header)
        if place is None:
            raise ValueError("the file has no place for its checksum")
        digest = _digest(file, header, place)
        file.seek(place.start(1))
        file.write(digest.encode())


def is_intact(file: BinaryIO) -> bool:
    """Return True if an open file still matches its checksum. Reads the whole file."""
    header = _header(file)
    place = _PLACE.search(header)
    return place is not None and _digest(file, header, place).encode() == place[1]


def _header(file: BinaryIO) -> bytes:
    """Read the header of a safetensors file, including the length in front of it."""
    file.seek(0)
    length = file.read(_LENGTH_BYTES)
    return length + file.read(int.from_bytes(length, "little"))


def _digest(file: BinaryIO, header: bytes, place: re.Match[bytes]) -> str:
    """Return the digest of the file, given its header; the file is read from the end of the header on."""
    digest = hashlib.sha256(header[: place.start(1)] + UNSEALED.encode() + header[place.end(1) :])
    while data := file.read(_COPY_BYTES):
        digest.update(data)
    return digest.hexdigest()
