"""Who still wants an artifact, said and asked in the bucket: it has no locks, and its objects cannot be touched.

An empty object `renewed/<digest>` is written anew at each renewal, so that its time is that of the last use. What a
collector is about to remove it announces by an object of its own below `condemned/<digest>/`. Whoever renews first
writes that it does and then looks for announcements; whoever removes first announces and then looks for renewals. S3
shows every write to all who read later, so at least one of the two sees the other: the collector gives way, or the
other waits until it is gone and looks what it has left.
"""

import secrets
import time
from datetime import datetime, timedelta

from app.storage.artifacts import ArtifactMissing, StoreUnavailable, require_digest
from app.storage.s3.bucket import Bucket

_CONDEMNED = "condemned"
# Of a collector, from its announcement to the removal; an announcement that is much older has nobody behind it.
_SECONDS_TO_REMOVE = 30.0
_DEAD_AFTER = timedelta(seconds=180)
_SECONDS_TO_WAIT = 5.0
_SECONDS_BETWEEN_LOOKS = 0.1


def artifact_key(sha256: str) -> str:
    """Where the artifact of this digest is. Raises `ValueError` for what is not a digest."""
    require_digest(sha256)
    return f"artifacts/{sha256}"


class Uses:
    """Renews artifacts, and removes those that nobody has renewed."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def renew(self, sha256: str) -> None:
        """Keep the artifact for a while. Raises `ArtifactMissing`."""
        self._bucket.put(_renewal_key(sha256), b"")
        self._wait_for_collectors(sha256)
        if self._bucket.find(artifact_key(sha256)) is None:
            self._bucket.delete(_renewal_key(sha256))
            raise ArtifactMissing(sha256)

    def remove(self, sha256: str, since: float) -> bool:
        """Remove the artifact, unless it was stored or renewed since then; returns whether it was removed."""
        announcement = f"{_CONDEMNED}/{sha256}/{secrets.token_hex(8)}"
        announced = time.monotonic()
        self._bucket.put(announcement, b"")
        wanted = self._used_since(sha256, since) or time.monotonic() - announced > _SECONDS_TO_REMOVE
        if not wanted:
            # If this fails it may still come to pass, so that the announcement has to stay.
            self._bucket.delete(artifact_key(sha256))
            self._bucket.delete(_renewal_key(sha256))
        self._bucket.delete(announcement)
        return not wanted

    def remove_announcements(self, since: float) -> int:
        """Remove those of collectors that have died; returns how many."""
        old = [
            found.key for page in self._bucket.list(_CONDEMNED) for found in page if found.modified.timestamp() < since
        ]
        for key in old:
            self._bucket.delete(key)
        return len(old)

    def _used_since(self, sha256: str, since: float) -> bool:
        artifact, renewal = (self._bucket.find(key(sha256)) for key in (artifact_key, _renewal_key))
        times = [found.modified.timestamp() for found in (artifact, renewal) if found is not None]
        return artifact is None or max(times) >= since

    def _wait_for_collectors(self, sha256: str) -> None:
        """Wait until nobody is about to remove the artifact. Raises `StoreUnavailable` if that takes long."""
        deadline = time.monotonic() + _SECONDS_TO_WAIT
        while announced := self._announcements(sha256):
            renewal = self._bucket.find(_renewal_key(sha256))
            if renewal is not None and max(announced) < renewal.modified - _DEAD_AFTER:
                return
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"the artifact {sha256} is just being removed")
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _announcements(self, sha256: str) -> list[datetime]:
        return [found.modified for page in self._bucket.list(f"{_CONDEMNED}/{sha256}") for found in page]


def _renewal_key(sha256: str) -> str:
    require_digest(sha256)
    return f"renewed/{sha256}"
