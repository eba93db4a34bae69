"""Artifact store in a bucket.

Uploads are staged on the local disk, because their structure is checked first, and moved to the bucket on commit. An
object is written completely or not at all; storing it again replaces it.

Downloads are verified while they are sent: the last bytes are held back until the digest is right. A verified version
of an object is remembered by its tag for an hour. A part of an object that is not verified is sent only after the whole
object has been read.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import structlog

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
from app.storage.verified_files import Verifications
from app.storage.writer import ArtifactWriter, Staging

_log = structlog.get_logger()
_CLOCK = "clock"
# Object times have whole seconds, so an object may seem older than it is.
_ROUNDING_SECONDS = 1.0
# Multipart uploads have no lock. One that is much older than any upload takes counts as abandoned.
_LONGEST_UPLOAD = timedelta(days=1)
_MOST_UPLOADS = 3


class S3Store:
    """An `ArtifactStore` in a bucket, with a local staging folder."""

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
        """Create a writer, see `ArtifactStore.writer`; the free space is that of the staging folder.

        Raises `StoreUnavailable` now rather than after gigabytes have arrived.
        """
        self.check()
        with self._staging.writer(self.adopt, expected, reserve) as writer:
            yield writer

    def require_room(self, size: int, reserve: int) -> None:
        """Do nothing, because a bucket is never full."""

    def put(self, source: Path) -> StoredArtifact:
        """Store a copy of a file, which must not change meanwhile."""
        with source.open("rb") as file:
            artifact = hashed(file)
            self._store(file, artifact)
        return artifact

    def adopt(self, path: Path, sha256: str) -> None:
        """Store a file with this digest, then remove it from the local disk."""
        with path.open("rb") as file:
            self._store(file, StoredArtifact(sha256, path.stat().st_size))
        path.unlink()

    def open(self, sha256: str) -> BinaryIO:
        """Open the artifact without verifying it. Raises `ArtifactMissing`."""
        return opened(self._bucket, self._find(sha256))

    def require(self, artifact: StoredArtifact) -> None:
        """Raise `ArtifactMissing`, or `ArtifactDamaged` for another size. The bytes are not read."""
        self._find_whole(artifact)

    def read(self, artifact: StoredArtifact, part: range) -> Iterator[bytes]:
        """Iterate over the bytes of a part of an intact artifact."""
        found = self._find_whole(artifact)
        if self._verified.knows(artifact.sha256, found.tag):
            return chunks(self._bucket, found, part)
        verified = self._verified_chunks(artifact, found)
        if part != artifact.whole:
            for _ in verified:
                pass
            return chunks(self._bucket, found, part)
        # Report damage within the first chunk before anything is sent.
        return chain([next(verified, b"")], verified)

    def address(self, artifact: StoredArtifact, media_type: str, disposition: str) -> str | None:
        """Return a temporary URL in the bucket, if redirects are enabled."""
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
        """Protect the artifact from removal for the grace time. Raises `ArtifactMissing`."""
        self._uses.renew(sha256)

    def moment(self, ago: timedelta) -> float:
        """Return the time `ago` before now, by the clock of the store."""
        self.check()
        clock = self._bucket.find(_CLOCK)
        if clock is None:
            raise StoreUnavailable("an object that was just written is missing")
        return clock.modified.timestamp() - ago.total_seconds() - _ROUNDING_SECONDS

    def unused_since(self, moment: float) -> Iterator[list[str]]:
        """Iterate over pages of digests that were not stored since then."""
        for page in self._bucket.list("artifacts"):
            names = [found.key.rpartition("/")[2] for found in page if found.modified.timestamp() < moment]
            if digests := [name for name in names if is_digest(name)]:
                yield digests

    def remove_unused(self, sha256: str, since: float) -> bool:
        """Remove the artifact unless it was stored or renewed since then; return whether it was removed."""
        return self._uses.remove(sha256, since)

    def remove_abandoned(self, grace: timedelta) -> int:
        """Remove leftovers of dead writers and collectors, here and in the bucket; return their number."""
        removed = self._staging.remove_abandoned(grace)
        removed += self._uses.remove_announcements(self.moment(grace))
        if self._location.credentials is not None:
            unfinished = UnfinishedUploads(self._location, self._location.credentials)
            removed += unfinished.end_older(self.moment(_LONGEST_UPLOAD))
        return removed

    def check(self) -> None:
        """Raise `StoreUnavailable` if the bucket is not writable."""
        self._bucket.put(_CLOCK, b"")

    def _store(self, file: BinaryIO, artifact: StoredArtifact) -> None:
        """Store a file; it stays at least for the grace time."""
        for _ in range(_MOST_UPLOADS):
            file.seek(0)
            upload(self._bucket, artifact_key(artifact.sha256), file, artifact)
            try:
                self.renew(artifact.sha256)
            except ArtifactMissing:
                # A collector was removing an old copy, and removed this one too.
                _log.info("artifact_removed_meanwhile", sha256=artifact.sha256)
            else:
                return
        raise StoreUnavailable(f"the artifact {artifact.sha256} was removed {_MOST_UPLOADS} times while it was stored")

    def _find(self, sha256: str) -> ObjectFound:
        found = self._bucket.find(artifact_key(sha256))
        if found is None:
            # A missing bucket looks the same, so check that first.
            self.check()
            raise ArtifactMissing(sha256)
        return found

    def _find_whole(self, artifact: StoredArtifact) -> ObjectFound:
        found = self._find(artifact.sha256)
        if found.size != artifact.size:
            raise ArtifactDamaged(artifact.sha256)
        return found

    def _verified_chunks(self, artifact: StoredArtifact, found: ObjectFound) -> Iterator[bytes]:
        """Iterate over the whole object; the last chunk comes only if the digest is right."""
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
