"""The checksum of a `.nern` file: the SHA-256 of all its bytes, with zeros in the checksum's own place.

It tells damage. It is no signature: whoever changes a file on purpose can compute it anew.
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
    """Put the checksum in its place, which the file has to have."""
    with path.open("r+b") as file:
        header = _header(file)
        place = _PLACE.search(header)
        if place is None:
            raise ValueError("the file has no place for its checksum")
        digest = _digest(file, header, place)
        file.seek(place.start(1))
        file.write(digest.encode())


def is_intact(file: BinaryIO) -> bool:
    """Whether an open file is as it was sealed. Reads all of it."""
    header = _header(file)
    place = _PLACE.search(header)
    return place is not None and _digest(file, header, place).encode() == place[1]


def _header(file: BinaryIO) -> bytes:
    """The header of a safetensors file, with the length in front of it."""
    file.seek(0)
    length = file.read(_LENGTH_BYTES)
    return length + file.read(int.from_bytes(length, "little"))


def _digest(file: BinaryIO, header: bytes, place: re.Match[bytes]) -> str:
    """The digest of the file, which is read from behind its header."""
    digest = hashlib.sha256(header[: place.start(1)] + UNSEALED.encode() + header[place.end(1) :])
    while data := file.read(_COPY_BYTES):
        digest.update(data)
    return digest.hexdigest()
