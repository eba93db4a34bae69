"""Patterns of tensor names, compiled once and rejected if matching could take too long. Torch-free.

Both the patterns and the names are untrusted. In the worst case each character of a pattern is compared with each
character of each name.
"""

import re
from collections.abc import Collection, Iterable
from fnmatch import translate
from typing import Final

from nern_core.contract.errors import NernError, quoted

MOST_PATTERNS: Final = 64
LONGEST_PATTERN: Final = 256
# One or two seconds on one core.
_MOST_COMPARISONS = 2**29
_WILDCARDS = frozenset("*?[")


class NamePatterns:
    """Shell-style patterns, matched against all names. Whole names are patterns, too."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raise `NernError` (`too_many_patterns`) for more than 64 wildcard patterns, or one longer than 256."""
        found = dict.fromkeys(patterns)
        self._plain = {pattern for pattern in found if _WILDCARDS.isdisjoint(pattern)}
        wild = [pattern for pattern in found if pattern not in self._plain]
        if len(wild) > MOST_PATTERNS or any(len(pattern) > LONGEST_PATTERN for pattern in wild):
            raise NernError(
                "too_many_patterns",
                f"`kernels` takes up to {MOST_PATTERNS} patterns of up to {LONGEST_PATTERN} characters; give fewer or "
                "shorter ones, or whole names.",
            )
        self._compiled = {pattern: re.compile(translate(pattern)).match for pattern in wild}

    def matches(self, name: str) -> bool:
        """Return True if one of the patterns matches."""
        return name in self._plain or any(match(name) for match in self._compiled.values())

    def unmatched(self, names: Collection[str]) -> str | None:
        """Return a pattern that matches no name; None if every pattern matches a name."""
        if absent := sorted(self._plain.difference(names)):
            return absent[0]
        for pattern, match in self._compiled.items():
            if not any(map(match, names)):
                return pattern
        return None

    def refuse_many(self, names: Collection[str]) -> None:
        """Raise `NernError` (`too_many_patterns`) if matching all of these names could take too long."""
        comparisons = sum(map(len, self._compiled)) * sum(map(len, names))
        if comparisons > _MOST_COMPARISONS:
            longest = max(self._compiled, key=len)
            raise NernError(
                "too_many_patterns",
                f"The {len(self._compiled)} patterns of `kernels`, such as {quoted(longest)}, are too many for the "
                f"{len(names):,} tensors of the checkpoint; give fewer or shorter ones, or whole names.",
            )
