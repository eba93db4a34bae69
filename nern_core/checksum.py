"""The checksum of a `.nern` file: the SHA-256 of all its bytes, with zeros in the checksum's own place.

It tells damage. It is no signature: whoever changes a file on purpose can compute it anew.
"""

import hashlib
import re
from pathlib import Path
from typing import Final

CHECKSUM: Final = "checksum"
UNSEALED: Final = "0" * 64
# The document is JSON within JSON, so its quotes are escaped.
_PLACE = re.compile(rb'\\"' + CHECKSUM.encode() + rb'\\":\\"([0-9a-f]{64})\\"')
_LENGTH_BYTES = 8


def seal(path: Path) -> None:
    """Put the checksum in its place, which the file has to have."""
    header = _header(path)
    place = _PLACE.search(header)
    if place is None:
        raise ValueError("the file has no place for its checksum")
    digest = _digest(path, header, place)
    with path.open("r+b") as file:
        file.seek(place.start(1))
        file.write(digest.encode())


def is_intact(path: Path) -> bool:
    """Whether the file is as it was sealed."""
    header = _header(path)
    place = _PLACE.search(header)
    return place is not None and _digest(path, header, place).encode() == place[1]


def _header(path: Path) -> bytes:
    """The header of a safetensors file, with the length in front of it."""
    with path.open("rb") as file:
        length = file.read(_LENGTH_BYTES)
        return length + file.read(int.from_bytes(length, "little"))


def _digest(path: Path, header: bytes, place: re.Match[bytes]) -> str:
    digest = hashlib.sha256(header[: place.start(1)] + UNSEALED.encode() + header[place.end(1) :])
    with path.open("rb") as file:
        file.seek(len(header))
        return hashlib.file_digest(file, lambda: digest).hexdigest()
