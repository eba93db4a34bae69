"""What an artifact store does, wherever it keeps the bytes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from app.storage.artifacts import StoredArtifact
from app.storage.writer import ArtifactWriter, nothing


class ArtifactStore(Protocol):
    """Keeps artifacts. Every method may raise `StoreUnavailable`; those that write raise `DiskFull`.

    An artifact has the time of its last use: storing or `renew`ing it. `remove_unused` takes only what has not been
    used for a while, and is kept apart from those two.
    """

    is_remote: bool
    """Whether it is at the other end of a network, and waiting for it costs this machine nothing."""

    def writer(self, expected: int = 0, reserve: int = 0) -> AbstractContextManager[ArtifactWriter]:
        """Write a new artifact; without `commit` nothing remains of it.

        Raises `DiskFull` if the `expected` bytes, or those that come, do not leave the reserve free.
        """

    def require_room(self, size: int, reserve: int) -> None:
        """Raise `DiskFull` unless artifacts of so many bytes leave the reserve free, where that can be told."""

    def put(self, source: Path) -> StoredArtifact:
        """Store a copy of a file."""

    def adopt(self, path: Path, sha256: str, go_on: Callable[[], None] = nothing) -> None:
        """Take over a file of this digest from the disk of the staging folder: it is stored, and gone from there.

        `go_on` is called now and then while that takes long.
        """

    def open(self, sha256: str) -> BinaryIO:
        """The artifact to look into, unverified. Raises `ArtifactMissing`."""

    def require(self, artifact: StoredArtifact) -> None:
        """Raise `ArtifactMissing` or `ArtifactDamaged` if that can be told without sending it."""

    def read(self, artifact: StoredArtifact, part: range) -> Iterator[bytes]:
        """The bytes of a part, of an artifact that has its digest.

        Raises `ArtifactMissing`, `ArtifactDamaged`. Where the damage shows only on the way, the iterator raises it
        before the last bytes.
        """

    def address(self, artifact: StoredArtifact, media_type: str, disposition: str) -> str | None:
        """Where a client may fetch the artifact from for a short while, without asking here; None: only here."""

    def copy(self, sha256: str, target: Path) -> None:
        """Write a copy of the artifact to `target`, which its owner may change without harm to the store.

        Raises `ArtifactMissing`, `ArtifactDamaged`.
        """

    def renew(self, sha256: str) -> None:
        """Keep the artifact from being removed for a while. Call it in the transaction that begins to use it.

        Raises `ArtifactMissing`.
        """

    def moment(self, ago: timedelta) -> float:
        """A moment that lies so far back, by the clock that artifacts are stamped with."""

    def unused_since(self, moment: float) -> Iterator[list[str]]:
        """Digests of what has not been stored since then, and perhaps not renewed, some at a time."""

    def remove_unused(self, sha256: str, since: float) -> bool:
        """Remove the artifact, unless it has been stored or renewed since then; returns whether it was removed."""

    def remove_abandoned(self, grace: timedelta) -> int:
        """Remove what was begun so long ago and that nobody writes any more; returns how many."""

    def check(self) -> None:
        """Raise `OSError` if nothing can be written."""
