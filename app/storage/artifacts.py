"""Artifacts: files named by their SHA-256, and their errors."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

_DIGEST = re.compile(r"[0-9a-f]{64}")
_COPY_BYTES = 2**20


class ArtifactMissing(Exception):
    """The store has no artifact with this digest."""


class ArtifactDamaged(Exception):
    """The file that is stored under this digest has another content."""


class StoreUnavailable(OSError):
    """The store does not answer or refuses the request; the state of the artifact is unknown."""


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """A file in the store."""

    sha256: str
    size: int

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """Return the file that a row describes."""
        return cls(described["sha256"], described["bytes"])

    def described(self) -> dict[str, str | int]:
        """Return size and digest in the form that rows hold."""
        return {"bytes": self.size, "sha256": self.sha256}

    @property
    def whole(self) -> range:
        """All of its bytes, for `ArtifactStore.read`."""
        return range(self.size)


def is_described(document: object) -> bool:
    """Return whether a row's document has the form of `StoredArtifact.described`."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("bytes"), int)
        and isinstance(document.get("sha256"), str)
        and is_digest(document["sha256"])
    )


def is_digest(text: str) -> bool:
    """Return whether the text is a SHA-256 in hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def require_digest(sha256: str) -> None:
    """Raise `ValueError` unless the text is a digest: names may contain no other text from outside."""
    if not is_digest(sha256):
        raise ValueError(f"not a SHA-256 digest: {sha256!r}")


def hashed(file: BinaryIO) -> StoredArtifact:
    """Read a file to its end; return its digest and size."""
    digest, size = hashlib.sha256(), 0
    while data := file.read(_COPY_BYTES):
        digest.update(data)
        size += len(data)
    return StoredArtifact(digest.hexdigest(), size)


def copy_hashed(source: BinaryIO, target: BinaryIO) -> StoredArtifact:
    """Copy a file to its end; return its digest and size."""
    digest, size = hashlib.sha256(), 0
    while data := source.read(_COPY_BYTES):
        target.write(data)
        digest.update(data)
        size += len(data)
    return StoredArtifact(digest.hexdigest(), size)
