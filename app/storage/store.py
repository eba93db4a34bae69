"""Interface of artifact stores."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from app.storage.artifacts import StoredArtifact
from app.storage.writer import ArtifactWriter


class ArtifactStore(Protocol):
    """Stores artifacts. Every method may raise `StoreUnavailable`; those that write may raise `DiskFull`.

    The store records the last use of an artifact: when it was stored or renewed. `remove_unused` removes only
    artifacts that were not used for a while, and is safe beside those two.
    """

    is_remote: bool
    """True if waiting for the store costs this machine nothing, because it is at the other end of a network."""

    def writer(self, expected: int = 0, reserve: int = 0) -> AbstractContextManager[ArtifactWriter]:
        """Write a new artifact; without `commit`, nothing remains of it.

        Raises `DiskFull` if the `expected` or the written bytes do not leave the reserve free.
        """

    def require_room(self, size: int, reserve: int) -> None:
        """Raise `DiskFull` unless `size` more bytes leave the reserve free, if the free space is known."""

    def put(self, source: Path) -> StoredArtifact:
        """Store a copy of a file."""

    def adopt(self, path: Path, sha256: str) -> None:
        """Move a file with this digest from the staging folder's disk into the store."""

    def open(self, sha256: str) -> BinaryIO:
        """Open the artifact without verifying it. Raises `ArtifactMissing`."""

    def require(self, artifact: StoredArtifact) -> None:
        """Raise `ArtifactMissing` or `ArtifactDamaged` if that is known without sending the artifact."""

    def read(self, artifact: StoredArtifact, part: range) -> Iterator[bytes]:
        """Iterate over the bytes of a part of an intact artifact.

        Raises `ArtifactMissing`, `ArtifactDamaged`. If the damage shows only while reading, the iterator raises before
        the last bytes.
        """

    def address(self, artifact: StoredArtifact, media_type: str, disposition: str) -> str | None:
        """Return a URL from which clients can fetch the artifact directly for a short time; None: not possible."""

    def copy(self, sha256: str, target: Path) -> None:
        """Write a copy of the artifact to `target`, which may be changed without harm to the store.

        Raises `ArtifactMissing`, `ArtifactDamaged`.
        """

    def renew(self, sha256: str) -> None:
        """Protect the artifact from removal for the grace time. Call it in the transaction that begins to use it.

        Raises `ArtifactMissing`.
        """

    def moment(self, ago: timedelta) -> float:
        """Return the time `ago` before now, by the clock that sets the times of artifacts."""

    def unused_since(self, moment: float) -> Iterator[list[str]]:
        """Iterate over batches of digests that were not stored since then; they may have been renewed."""

    def remove_unused(self, sha256: str, since: float) -> bool:
        """Remove the artifact unless it was stored or renewed since then; return whether it was removed."""

    def remove_abandoned(self, grace: timedelta) -> int:
        """Remove incomplete writes older than `grace` that nobody continues; return their number."""

    def check(self) -> None:
        """Raise `OSError` if the store is not writable."""
