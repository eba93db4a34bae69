"""What stores keep: files named by their SHA-256, and what can be wrong with one."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

_DIGEST = re.compile(r"[0-9a-f]{64}")
_COPY_BYTES = 2**20


class ArtifactMissing(Exception):
    """There is no artifact of this digest."""


class ArtifactDamaged(Exception):
    """What is stored under this digest is something else."""


class StoreUnavailable(OSError):
    """The store does not answer, or refuses what it is asked for; nothing is known of the artifact."""


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """A file in the store."""

    sha256: str
    size: int

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """The file that a row describes."""
        return cls(described["sha256"], described["bytes"])

    def described(self) -> dict[str, str | int]:
        """Size and digest, as rows hold them."""
        return {"bytes": self.size, "sha256": self.sha256}

    @property
    def whole(self) -> range:
        """All of its bytes, for `ArtifactStore.read`."""
        return range(self.size)


def is_described(document: object) -> bool:
    """Whether a row's document describes a file as `StoredArtifact.described` does."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("bytes"), int)
        and isinstance(document.get("sha256"), str)
        and is_digest(document["sha256"])
    )


def is_digest(text: str) -> bool:
    """Whether this is a SHA-256 in hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def require_digest(sha256: str) -> None:
    """Raise `ValueError` for what is not a digest: no other part of a name may come from outside."""
    if not is_digest(sha256):
        raise ValueError(f"not a SHA-256 digest: {sha256!r}")


def hashed(file: BinaryIO) -> StoredArtifact:
    """Read to the end; returns what was read."""
    digest, size = hashlib.sha256(), 0
    while data := file.read(_COPY_BYTES):
        digest.update(data)
        size += len(data)
    return StoredArtifact(digest.hexdigest(), size)


def copy_hashed(source: BinaryIO, target: BinaryIO) -> StoredArtifact:
    """Copy to the end; returns what was copied."""
    digest, size = hashlib.sha256(), 0
    while data := source.read(_COPY_BYTES):
        target.write(data)
        digest.update(data)
        size += len(data)
    return StoredArtifact(digest.hexdigest(), size)
