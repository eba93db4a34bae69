"""API keys as text: `nern_<id>_<secret>`.

The constant prefix lets scanners find leaked keys. The secret has 256 random bits, so one round of SHA-256 protects it
as well as a slow hash would.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Self

_PATTERN = re.compile(r"nern_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Token:
    """One key, with its secret."""

    key_id: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        """Create a random key."""
        return cls(secrets.token_hex(8), secrets.token_urlsafe(32))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a key; return None if the text is not a key."""
        found = _PATTERN.fullmatch(text)
        return cls(found[1], found[2]) if found else None

    def reveal(self) -> str:
        """Return the text that the holder sends."""
        return f"nern_{self.key_id}_{self.secret}"

    def digest(self) -> str:
        """Return the SHA-256 of the secret, which is stored."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def has_digest(self, digest: str) -> bool:
        """Return whether a stored digest is this secret's, in constant time."""
        return hmac.compare_digest(self.digest(), digest)
