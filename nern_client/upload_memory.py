"""Where an upload that has begun goes on, for a later call or another process."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path


class UploadMemory:
    """Remembers the address of one upload in the user's cache; without a cache nothing is remembered."""

    def __init__(self, url: str, sha256: str) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._path = cache / "nern" / "uploads" / hashlib.sha256(f"{url}\n{sha256}".encode()).hexdigest()

    def recall(self) -> str | None:
        """The address, if the upload has begun. What does not look like one is no address."""
        try:
            address = self._path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return address if address.startswith("/uploads/") else None

    def keep(self, address: str) -> None:
        """The upload has begun."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(address, encoding="utf-8")

    def forget(self) -> None:
        """The upload is over."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
