"""The artifact store in a bucket.

Uploads are staged on the local disk, as their structure is checked before they are kept, and put into the bucket when
they are committed. An object is written whole or not at all; what is stored again replaces it.

What is downloaded is verified as it passes: the last bytes are held back until the digest is right. For an hour a
version of an object that was whole is known by its tag, and a part of one that is not known is sent only after the
whole has been read.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import structlog

from app.integrity import Verifications
from app.storage.artifacts import (
    ArtifactDamaged,
    ArtifactMissing,
    StoredArtifact,
    StoreUnavailable,
    hashed,
    is_digest,
)
from app.storage.s3.bucket import Bucket, ObjectFound
from app.storage.s3.leftovers import UnfinishedUploads
from app.storage.s3.location import Location
from app.storage.s3.objects import chunks, opened, upload
from app.storage.s3.signing import signed_address
from app.storage.s3.uses import Uses, artifact_key
from app.storage.writer import ArtifactWriter, Staging, nothing

_log = structlog.get_logger()
_CLOCK = "clock"
# Times of objects have whole seconds, so that one may be told to be older than it is.
_ROUNDING_SECONDS = 1.0
# Nobody holds a lock on an upload in parts: it is taken for left behind when it is much older than any takes.
_LONGEST_UPLOAD = timedelta(days=1)
_MOST_UPLOADS = 3


class S3Store:
    """An `ArtifactStore` in a bucket, with a folder for what is still to be put there."""

    is_remote = True

    def __init__(self, bucket: Bucket, location: Location, staging: Path, redirect_lifetime: timedelta) -> None:
        self._bucket = bucket
        self._location = location
        self._staging = Staging(staging)
        self._redirect_lifetime = redirect_lifetime
        self._uses = Uses(bucket)
        self._verified = Verifications()

    @contextmanager
    def writer(self, expected: int = 0, reserve: int = 0) -> Iterator[ArtifactWriter]:
        """As `ArtifactStore` has it; the room is that of the staging folder.

        Raises `StoreUnavailable` before gigabytes come that could not be kept.
        """
        self.check()
        with self._staging.writer(self.adopt, expected, reserve) as writer:
            yield writer

    def require_room(self, size: int, reserve: int) -> None:
        """There is always room in a bucket."""

    def put(self, source: Path) -> StoredArtifact:
        """Store a copy of a file. It must not change meanwhile."""
        with source.open("rb") as file:
            artifact = hashed(file)
            self._store(file, artifact, nothing)
        return artifact

    def adopt(self, path: Path, sha256: str, go_on: Callable[[], None] = nothing) -> None:
        """Store a file of this digest, which is removed from the local disk then."""
        with path.open("rb") as file:
            self._store(file, StoredArtifact(sha256, path.stat().st_size), go_on)
        path.unlink()

    def open(self, sha256: str) -> BinaryIO:
        """The artifact to look into, unverified. Raises `ArtifactMissing`."""
        return opened(self._bucket, self._find(sha256))

    def require(self, artifact: StoredArtifact) -> None:
        """Raise `ArtifactMissing`, or `ArtifactDamaged` if it has another size. Its bytes are not read."""
        self._find_whole(artifact)

    def read(self, artifact: StoredArtifact, part: range) -> Iterator[bytes]:
        """The bytes of a part, of an artifact that has its digest."""
        found = self._find_whole(artifact)
        if self._verified.knows(artifact.sha256, found.tag):
            return chunks(self._bucket, found, part)
        verified = self._verified_chunks(artifact, found)
        if part != artifact.whole:
            for _ in verified:
                pass
            return chunks(self._bucket, found, part)
        # A damage within the first chunk is told before anything is sent.
        return chain([next(verified, b"")], verified)

    def address(self, artifact: StoredArtifact, media_type: str, disposition: str) -> str | None:
        """An address in the bucket that is good for a while, if clients are to be redirected."""
        location = self._location
        if not location.redirects or location.credentials is None:
            return None
        key = location.key(artifact_key(artifact.sha256))
        headers = {"response-content-type": media_type, "response-content-disposition": disposition}
        address = f"{location.public_endpoint}/{location.bucket}/{key}"
        return signed_address("GET", address, headers, location.credentials, location.region, self._redirect_lifetime)

    def copy(self, sha256: str, target: Path) -> None:
        """Write a copy of the artifact to `target`. Raises `ArtifactMissing`, `ArtifactDamaged`."""
        found = self._find(sha256)
        try:
            with target.open("wb") as copy:
                for data in self._verified_chunks(StoredArtifact(sha256, found.size), found):
                    copy.write(data)
        except ArtifactDamaged:
            target.unlink()
            raise

    def renew(self, sha256: str) -> None:
        """Keep the artifact from being removed for a while. Raises `ArtifactMissing`."""
        self._uses.renew(sha256)

    def moment(self, ago: timedelta) -> float:
        """A moment that lies so far back, by the clock of the store."""
        self.check()
        clock = self._bucket.find(_CLOCK)
        if clock is None:
            raise StoreUnavailable("what was just written is not there")
        return clock.modified.timestamp() - ago.total_seconds() - _ROUNDING_SECONDS

    def unused_since(self, moment: float) -> Iterator[list[str]]:
        """Digests of what has not been stored since then, a page at a time."""
        for page in self._bucket.list("artifacts"):
            names = [found.key.rpartition("/")[2] for found in page if found.modified.timestamp() < moment]
            if digests := [name for name in names if is_digest(name)]:
                yield digests

    def remove_unused(self, sha256: str, since: float) -> bool:
        """Remove the artifact, unless it has been stored or renewed since then; returns whether it was removed."""
        return self._uses.remove(sha256, since)

    def remove_abandoned(self, grace: timedelta) -> int:
        """Remove what writers and collectors that have died left here and in the bucket; returns how many."""
        removed = self._staging.remove_abandoned(grace)
        removed += self._uses.remove_announcements(self.moment(grace))
        if self._location.credentials is not None:
            unfinished = UnfinishedUploads(self._location, self._location.credentials)
            removed += unfinished.end_older(self.moment(_LONGEST_UPLOAD))
        return removed

    def check(self) -> None:
        """Raise `StoreUnavailable` if nothing can be written."""
        self._bucket.put(_CLOCK, b"")

    def _store(self, file: BinaryIO, artifact: StoredArtifact, go_on: Callable[[], None]) -> None:
        """Put a file into its place; it is there to stay for the grace time."""
        for _ in range(_MOST_UPLOADS):
            file.seek(0)
            upload(self._bucket, artifact_key(artifact.sha256), file, artifact, go_on)
            try:
                self.renew(artifact.sha256)
            except ArtifactMissing:
                # A collector has removed an old copy, and this one with it.
                _log.info("artifact_removed_meanwhile", sha256=artifact.sha256)
            else:
                return
        raise StoreUnavailable(f"the artifact {artifact.sha256} is removed again and again")

    def _find(self, sha256: str) -> ObjectFound:
        found = self._bucket.find(artifact_key(sha256))
        if found is None:
            # The answer is the same where there is no bucket.
            self.check()
            raise ArtifactMissing(sha256)
        return found

    def _find_whole(self, artifact: StoredArtifact) -> ObjectFound:
        found = self._find(artifact.sha256)
        if found.size != artifact.size:
            raise ArtifactDamaged(artifact.sha256)
        return found

    def _verified_chunks(self, artifact: StoredArtifact, found: ObjectFound) -> Iterator[bytes]:
        """All of it, the last chunk not before the digest is right."""
        digest, held = hashlib.sha256(), b""
        for data in chunks(self._bucket, found, artifact.whole):
            if held:
                yield held
            digest.update(data)
            held = data
        if digest.hexdigest() != artifact.sha256:
            _log.error("artifact_damaged", sha256=artifact.sha256)
            raise ArtifactDamaged(artifact.sha256)
        self._verified.note(artifact.sha256, found.tag)
        yield held
