"""Renewals and removals of artifacts without locks, because a bucket has none, and object times cannot be changed.

Each renewal rewrites an empty object `renewed/<digest>`, so its time is that of the last use. A collector announces a
removal by its own object below `condemned/<digest>/`. A renewal first writes its object and then looks for
announcements; a removal first announces itself and then looks for renewals. S3 shows every write to all later reads, so
at least one of the two sees the other: the collector gives way, or the renewal waits for the collector to finish and
checks whether the artifact still exists.
"""

import secrets
import time
from datetime import datetime, timedelta

from app.storage.artifacts import ArtifactMissing, StoreUnavailable, require_digest
from app.storage.s3.bucket import Bucket

_CONDEMNED = "condemned"
# Time limit of a collector from announcement to removal; a much older announcement is from a dead collector.
_SECONDS_TO_REMOVE = 30.0
_DEAD_AFTER = timedelta(seconds=180)
_SECONDS_TO_WAIT = 5.0
_SECONDS_BETWEEN_LOOKS = 0.1


def artifact_key(sha256: str) -> str:
    """Return the key of the artifact with this digest. Raises `ValueError` for an invalid digest."""
    require_digest(sha256)
    return f"artifacts/{sha256}"


class Uses:
    """Renews artifacts, and removes those that nobody has renewed."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def renew(self, sha256: str) -> None:
        """Protect the artifact from removal for the grace time. Raises `ArtifactMissing`."""
        self._bucket.put(_renewal_key(sha256), b"")
        self._wait_for_collectors(sha256)
        if self._bucket.find(artifact_key(sha256)) is None:
            self._bucket.delete(_renewal_key(sha256))
            raise ArtifactMissing(sha256)

    def remove(self, sha256: str, since: float) -> bool:
        """Remove the artifact unless it was stored or renewed since then; return whether it was removed."""
        announcement = f"{_CONDEMNED}/{sha256}/{secrets.token_hex(8)}"
        announced = time.monotonic()
        self._bucket.put(announcement, b"")
        wanted = self._used_since(sha256, since) or time.monotonic() - announced > _SECONDS_TO_REMOVE
        if not wanted:
            # If this fails, it may still take effect later, so the announcement must stay.
            self._bucket.delete(artifact_key(sha256))
            self._bucket.delete(_renewal_key(sha256))
        self._bucket.delete(announcement)
        return not wanted

    def remove_announcements(self, since: float) -> int:
        """Remove announcements of dead collectors; return their number."""
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
        """Wait until no collector is removing the artifact. Raises `StoreUnavailable` if that takes over 5 seconds."""
        deadline = time.monotonic() + _SECONDS_TO_WAIT
        while announced := self._announcements(sha256):
            renewal = self._bucket.find(_renewal_key(sha256))
            if renewal is not None and max(announced) < renewal.modified - _DEAD_AFTER:
                return
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"the artifact {sha256} is being removed")
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _announcements(self, sha256: str) -> list[datetime]:
        return [found.modified for page in self._bucket.list(f"{_CONDEMNED}/{sha256}") for found in page]


def _renewal_key(sha256: str) -> str:
    require_digest(sha256)
    return f"renewed/{sha256}"
