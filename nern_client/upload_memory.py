"""Addresses of unfinished uploads, so that a later call or another process can resume them."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path


class UploadMemory:
    """Stores the address of one upload in the user's cache; does nothing without a cache."""

    def __init__(self, url: str, sha256: str) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._path = cache / "nern" / "uploads" / hashlib.sha256(f"{url}\n{sha256}".encode()).hexdigest()

    def recall(self) -> str | None:
        """Return the address of the upload; None if it has not begun or the stored text is not an address."""
        try:
            address = self._path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return address if address.startswith("/uploads/") else None

    def keep(self, address: str) -> None:
        """Store the address of an upload that has begun."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(address, encoding="utf-8")

    def forget(self) -> None:
        """Delete the address of an upload that is over."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
